# Mask R-CNN with ResNet-18 and FPN, with the settings that the literature on gland pre-training uses in Detectron2.
# From scratch; a pre-trained backbone is given on the command line, see docs/transfer.md.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

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
