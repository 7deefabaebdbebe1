# The two unlike views of VICReg and VICRegL: the second is seldom blurred, and sometimes solarised
_base_ = 'nct_two_views.py'

first_view = [
    dict(type='histomm.RandomResizedCrop', size=224, scale=(0.08, 1.0), interpolation='bicubic'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.0),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
    dict(type='histomm.GaussianBlur', sigma=(0.1, 2.0), prob=1.0),
]
second_view = [
    dict(type='histomm.RandomResizedCrop', size=224, scale=(0.08, 1.0), interpolation='bicubic'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.0),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
    dict(type='histomm.GaussianBlur', sigma=(0.1, 2.0), prob=0.1),
    dict(type='histomm.RandomSolarize', prob=0.2),
]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='histomm.LoadPatch'),
            dict(type='histomm.MultiView', views=[dict(pipeline=first_view), dict(pipeline=second_view)]),
            dict(type='histomm.PackViews'),
        ]
    )
)
