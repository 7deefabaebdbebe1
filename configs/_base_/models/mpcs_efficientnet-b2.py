_base_ = 'mpcs_r50.py'
norm_cfg = dict(type='SyncBN')
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.EfficientNet',
        arch='b2',
        norm_cfg=dict(type='SyncBN', eps=1e-3),
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
            # mmpretrain's names; in the files of its model zoo they stand below 'backbone'
            dict(
                type='histomm.PretrainedIfPresent',
                checkpoint='weights/efficientnet-b2_imagenet.pth',
                prefix='backbone',
            ),
        ],
    ),
    neck=dict(in_channels=1408),
)
