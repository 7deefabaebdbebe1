# M_pl beside ConCL: L = (1 − λ)·L_ConCL + λ·L^L
_base_ = '../concl/concl_r18_nct.py'
model = dict(
    dense_neck=dict(type='histomm.DenseNeck', in_channels=512, hid_channels=512, out_channels=128),
    matchers=[dict(type='histomm.PreciseLocationMatcher')],
    loss_lambda=0.5,
)
