norm_cfg = dict(type='SyncBN')
model = dict(
    type='mmpretrain.BarlowTwins',
    backbone=dict(type='mmpretrain.ResNet', depth=18, norm_cfg=norm_cfg, zero_init_residual=False),
    neck=dict(
        type='mmpretrain.NonLinearNeck',
        in_channels=512,
        hid_channels=8192,
        out_channels=8192,
        num_layers=3,
        with_last_bn=False,
        norm_cfg=norm_cfg,
    ),
    head=dict(
        type='histomm.CrossCorrelationHead',
        in_channels=8192,
        loss=dict(type='mmpretrain.CrossCorrelationLoss', lambd=0.005),
    ),
    data_preprocessor=dict(type='histomm.ViewDataPreprocessor', geometry=False),
)
