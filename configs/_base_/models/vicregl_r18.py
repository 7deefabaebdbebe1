# Narrower than VICReg's projector, which was made for a ResNet-50 and a million images
_base_ = 'vicreg_r18.py'
model = dict(
    neck=dict(hid_channels=2048, out_channels=2048),
    dense_neck=dict(
        type='histomm.MapProjector',
        in_channels=512,
        hid_channels=512,
        out_channels=512,
        norm_cfg=dict(type='SyncBN'),
    ),
    alpha=0.75,
    covariance='mean',
)
