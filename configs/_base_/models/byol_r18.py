norm_cfg = dict(type='SyncBN')
model = dict(
    type='mmpretrain.BYOL',
    # One minus the momentum of the paper, here 0.99 as for 300 epochs there; it goes to 1 along a half cosine.
    base_momentum=0.01,
    backbone=dict(type='mmpretrain.ResNet', depth=18, norm_cfg=norm_cfg, zero_init_residual=False),
    neck=dict(
        type='mmpretrain.NonLinearNeck',
        in_channels=512,
        hid_channels=4096,
        out_channels=256,
        num_layers=2,
        with_bias=True,
        with_last_bn=False,
        norm_cfg=norm_cfg,
    ),
    head=dict(
        type='mmpretrain.LatentPredictHead',
        predictor=dict(
            type='mmpretrain.NonLinearNeck',
            in_channels=256,
            hid_channels=4096,
            out_channels=256,
            num_layers=2,
            with_bias=True,
            with_last_bn=False,
            with_avg_pool=False,
            norm_cfg=norm_cfg,
        ),
        # 1 - cosine, of which the model takes twice the sum over both orders: eq. 2 with its constant.
        loss=dict(type='histomm.CosineSimilarityLoss', shift_factor=1.0),
    ),
    data_preprocessor=dict(type='histomm.ViewDataPreprocessor', geometry=False),
)
