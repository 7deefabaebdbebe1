# Half as long.
_base_ = 'mask-rcnn_r18_fpn_crag.py'

train_cfg = dict(max_iters=7500, val_interval=500)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=7500, milestones=[5000, 6500], gamma=0.1),
]
default_hooks = dict(checkpoint=dict(interval=500), precise_bn=dict(interval=500))
