# M_pl beside VICReg: L = α·L_global + (1 − α)·L_local
_base_ = '../vicreg/vicreg_r18_nct.py'
model = dict(
    dense_neck=dict(
        type='histomm.MapProjector',
        in_channels=512,
        hid_channels=512,
        out_channels=512,
        norm_cfg=dict(type='SyncBN'),
    ),
    matchers=[dict(type='histomm.PreciseLocationMatcher')],
    alpha=0.75,
)
