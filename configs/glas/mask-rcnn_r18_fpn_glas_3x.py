# Three times as long.
_base_ = 'mask-rcnn_r18_fpn_glas.py'

train_cfg = dict(max_iters=15000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=15000, milestones=[12000], gamma=0.1),
]
