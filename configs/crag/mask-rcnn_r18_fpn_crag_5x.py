# Five times as long.
_base_ = 'mask-rcnn_r18_fpn_crag.py'

train_cfg = dict(max_iters=75000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=75000, milestones=[50000, 65000], gamma=0.1),
]
