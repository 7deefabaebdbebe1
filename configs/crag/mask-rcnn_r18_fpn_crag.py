# Mask R-CNN with ResNet-18 and FPN on CRAG, as the literature on gland pre-training trains it.
_base_ = [
    '../_base_/models/mask-rcnn_r18_fpn.py',
    '../_base_/datasets/crag_instance.py',
    '../_base_/schedules/sgd_5k.py',
    '../_base_/detection_runtime.py',
]

train_cfg = dict(max_iters=15000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=15000, milestones=[10000, 13000], gamma=0.1),
]
