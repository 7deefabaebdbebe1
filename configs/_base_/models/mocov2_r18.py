model = dict(
    type='histomm.DenseMoCo',
    backbone=dict(type='mmpretrain.ResNet', depth=18, norm_cfg=dict(type='BN'), zero_init_residual=False),
    neck=dict(type='mmpretrain.MoCoV2Neck', in_channels=512, hid_channels=512, out_channels=128, with_avg_pool=True),
    temperature=0.2,
    queue_len=16384,
    feat_dim=128,
    momentum=0.999,
    data_preprocessor=dict(type='histomm.ViewDataPreprocessor'),
)
