# Mask R-CNN with ResNet-18 and FPN on GlaS, with the settings that the literature on gland pre-training uses in
# Detectron2. From scratch; a pre-trained backbone is given on the command line, see docs/transfer.md.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/datasets/glas_instance.py',
    '../_base_/default_runtime.py',
]
default_scope = 'mmdet'

# Synchronised over processes; a run of one process uses plain batch norm.
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=18,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        style='pytorch',
        # mmdet's defaults (1 and True) keep the first stage and all batch norms as they were pre-trained, which
        # suits ImageNet weights and spoils others.
        frozen_stages=-1,
        norm_eval=False,
        norm_cfg=norm_cfg,
    ),
    neck=dict(in_channels=[64, 128, 256, 512], norm_cfg=norm_cfg),
    roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)),
    # Detectron2 gives a gland no RoI below IoU 0.5.
    train_cfg=dict(rcnn=dict(assigner=dict(match_low_quality=False))),
)

train_cfg = dict(type='IterBasedTrainLoop', max_iters=5000, val_interval=1000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=0.0001),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=5000, milestones=[4000], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

default_hooks = dict(
    # Without it all evaluations would stand at step 0.
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=1000),
    visualization=dict(type='DetVisualizationHook'),
    # 200 batches, before each evaluation and checkpoint.
    precise_bn=dict(type='histomm.PreciseBNHook', interval=1000, num_iters=200),
)
env_cfg = dict(cudnn_benchmark=False)
visualizer = dict(type='DetLocalVisualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
