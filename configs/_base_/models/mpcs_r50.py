# Batch norm over all processes, of which the loss compares all images, too
norm_cfg = dict(type='SyncBN')
model = dict(
    type='histomm.SimCLR',
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=50,
        norm_cfg=norm_cfg,
        zero_init_residual=False,
        init_cfg=[
            dict(type='Kaiming', layer=['Conv2d']),
            dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
            dict(type='histomm.PretrainedIfPresent', checkpoint='weights/resnet50_imagenet.pth'),
        ],
    ),
    # pooling, 2048 -> 1024, batch norm, ReLU, 1024 -> 128, batch norm without weights; no biases
    neck=dict(
        type='mmpretrain.NonLinearNeck',
        in_channels=2048,
        hid_channels=1024,
        out_channels=128,
        with_last_bn_affine=False,
        norm_cfg=norm_cfg,
    ),
    temperature=0.01,
    # grey levels from 0 to 1
    data_preprocessor=dict(type='histomm.ViewDataPreprocessor', mean=(0, 0, 0), std=(255, 255, 255), geometry=False),
)
