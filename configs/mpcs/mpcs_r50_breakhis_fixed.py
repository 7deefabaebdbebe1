# 200X and 400X of each sample
_base_ = 'mpcs_r50_breakhis_ordered.py'
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='histomm.MagnificationPairSampler', strategy='fixed', pair=[200, 400]),
            dict(type='histomm.MagnificationViews', pipeline={{_base_.view}}, sync=True),
            dict(type='histomm.PackViews', meta_keys=['pair', 'patient']),
        ]
    )
)
