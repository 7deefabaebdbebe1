# Batch norm over all processes, as in SimCLR; in a run of one process it is the plain one
model = dict(
    type='histomm.SimCLR',
    backbone=dict(type='mmpretrain.ResNet', depth=18, norm_cfg=dict(type='SyncBN'), zero_init_residual=False),
    # pooling, 512 -> 512, ReLU, 512 -> 128: fc.1 and fc.3 of the authors' checkpoint
    neck=dict(type='mmpretrain.MoCoV2Neck', in_channels=512, hid_channels=512, out_channels=128, with_avg_pool=True),
    temperature=0.1,
    # the mean and the standard deviation of 0.5 that the authors name
    data_preprocessor=dict(
        type='histomm.ViewDataPreprocessor', mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5), geometry=False
    ),
)
