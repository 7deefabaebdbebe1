# As the authors' code has it where it differs from the paper: temperature 0.1, and each view drawn by itself
_base_ = 'mpcs_r50-d8_breakhis_ordered.py'
model = dict(temperature=0.1)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='histomm.MagnificationPairSampler', strategy='ordered'),
            dict(type='histomm.MagnificationViews', pipeline={{_base_.view}}, sync=False),
            dict(type='histomm.PackViews', meta_keys=['pair', 'patient']),
        ]
    )
)
