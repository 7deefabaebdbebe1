# ResNet-18, mean over the map, a linear layer. From scratch; a pre-trained backbone is given on the command line, and
# frozen_stages=4 trains the linear layer alone, on features of the backbone in evaluation mode.
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=18,
        norm_cfg=dict(type='BN'),
        zero_init_residual=False,
        frozen_stages=-1,
        norm_eval=False,
    ),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(
        type='mmpretrain.LinearClsHead',
        in_channels=512,
        num_classes=9,
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
    ),
    # Of ImageNet, red first; images are RGB before they come here.
    data_preprocessor=dict(
        type='mmpretrain.ClsDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
)
