# Half as long.
_base_ = 'mask-rcnn_r18_fpn_glas.py'

train_cfg = dict(max_iters=2500, val_interval=500)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=2500, milestones=[2000], gamma=0.1),
]
default_hooks = dict(checkpoint=dict(interval=500), precise_bn=dict(interval=500))
