_base_ = 'mpcs_r50.py'
norm_cfg = dict(type='SyncBN')
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.EfficientNet',
        arch='b2',
        # as in TensorFlow, mmpretrain's model zoo and timm's tf_efficientnet_b2; for the weights of torchvision or of
        # timm's efficientnet_b2: conv_cfg=None, eps=1e-5
        conv_cfg=dict(type='Conv2dAdaptivePadding'),
        norm_cfg=dict(type='SyncBN', eps=1e-3),
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
            dict(
                type='histomm.PretrainedIfPresent',
                checkpoint='weights/efficientnet-b2_imagenet.pth',
                prefix='backbone',
                # which networks of TensorFlow have not
                allow_missing=['*.num_batches_tracked'],
            ),
        ],
    ),
    neck=dict(in_channels=1408),
)
