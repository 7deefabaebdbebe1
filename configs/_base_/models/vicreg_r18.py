# Batch norm over all processes; in a run of one process it is the plain one
norm_cfg = dict(type='SyncBN')
model = dict(
    type='histomm.VICReg',
    backbone=dict(type='mmpretrain.ResNet', depth=18, norm_cfg=norm_cfg, zero_init_residual=False),
    neck=dict(
        type='mmpretrain.NonLinearNeck',
        in_channels=512,
        hid_channels=8192,
        out_channels=8192,
        num_layers=3,
        with_bias=True,
        with_last_bn=False,
        norm_cfg=norm_cfg,
    ),
    weights=(25.0, 25.0, 1.0),
    covariance='sum',
    data_preprocessor=dict(type='histomm.ViewDataPreprocessor'),
)
