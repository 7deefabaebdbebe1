# EfficientNet-b2 as in resnet18_classifier.py; borders and eps of TensorFlow, as in mpcs_efficientnet-b2.py
_base_ = 'resnet18_classifier.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.EfficientNet',
        arch='b2',
        conv_cfg=dict(type='Conv2dAdaptivePadding'),
        norm_cfg=dict(type='BN', eps=1e-3),
    ),
    head=dict(in_channels=1408),
)
