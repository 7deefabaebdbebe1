# M_pl beside BYOL: the branch's key side follows with the momentum of BYOL's target network
_base_ = '../byol/byol_r18_nct.py'
model = dict(
    type='histomm.WithDenseBranch',
    framework='mmpretrain.BYOL',
    dense=dict(
        neck=dict(type='histomm.DenseNeck', in_channels=512, hid_channels=512, out_channels=128),
        matchers=[dict(type='histomm.PreciseLocationMatcher')],
        queue_len=16384,
        feat_dim=128,
        temperature=0.2,
    ),
    loss_lambda=0.5,
    target_backbone='target_net.module.0',
    target_momentum=0.99,
    target_end_momentum=1.0,
    data_preprocessor=dict(geometry=True),
)
