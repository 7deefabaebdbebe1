# NCT-CRC-HE-100K as two augmented views, and a plain one that contains both
_base_ = 'nct_two_views.py'
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='histomm.LoadPatch'),
            dict(
                type='histomm.MultiView',
                views=[
                    dict(pipeline={{_base_.view}}, num=2),
                    dict(pipeline=[dict(type='histomm.BoundingCrop', size=224, interpolation='bicubic')]),
                ],
            ),
            dict(type='histomm.PackViews'),
        ]
    )
)
