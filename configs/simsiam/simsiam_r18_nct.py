_base_ = [
    '../_base_/models/simsiam_r18.py',
    '../_base_/datasets/nct_two_views.py',
    '../_base_/schedules/sgd_cosine_200e.py',
    '../_base_/nct_runtime.py',
]
# The predictor keeps its first learning rate.
optim_wrapper = dict(optimizer=dict(lr=0.05), paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)}))
default_hooks = dict(fixed_lr=dict(type='histomm.FixedLRHook'))
