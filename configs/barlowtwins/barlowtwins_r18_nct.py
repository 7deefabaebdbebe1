_base_ = [
    '../_base_/models/barlowtwins_r18.py',
    '../_base_/datasets/nct_two_views.py',
    '../_base_/schedules/vicreg_200e.py',
    '../_base_/nct_runtime.py',
]
# Weights learn at 0.2, biases and batch norms at 0.0048; 'downsample.1' is the batch norm of a ResNet's shortcut.
optim_wrapper = dict(
    optimizer=dict(lr=0.2, weight_decay=1.5e-6),
    paramwise_cfg=dict(
        custom_keys={'bn': dict(lr_mult=0.024), 'bias': dict(lr_mult=0.024), 'downsample.1': dict(lr_mult=0.024)}
    ),
)
