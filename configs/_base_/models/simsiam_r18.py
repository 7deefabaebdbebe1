norm_cfg = dict(type='SyncBN')
model = dict(
    type='mmpretrain.SimSiam',
    backbone=dict(type='mmpretrain.ResNet', depth=18, norm_cfg=norm_cfg, zero_init_residual=False),
    neck=dict(
        type='mmpretrain.NonLinearNeck',
        in_channels=512,
        hid_channels=2048,
        out_channels=2048,
        num_layers=3,
        with_last_bn_affine=False,
        norm_cfg=norm_cfg,
    ),
    head=dict(
        type='mmpretrain.LatentPredictHead',
        predictor=dict(
            type='mmpretrain.NonLinearNeck',
            in_channels=2048,
            hid_channels=512,
            out_channels=2048,
            num_layers=2,
            with_last_bn=False,
            with_last_bias=True,
            with_avg_pool=False,
            norm_cfg=norm_cfg,
        ),
        loss=dict(type='histomm.CosineSimilarityLoss'),
    ),
    data_preprocessor=dict(type='histomm.ViewDataPreprocessor', geometry=False),
)
