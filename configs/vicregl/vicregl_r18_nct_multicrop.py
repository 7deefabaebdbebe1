# Two large crops and six small ones, whose maps are 3 x 3; of their cells 4 are matched by location
_base_ = 'vicregl_r18_nct.py'
model = dict(
    small_matchers=[
        dict(type='histomm.FeatureMatcher', space='projection', metric='l2', both_directions=True),
        dict(type='histomm.LocationMatcher', gamma=4),
    ]
)

large_first_view = [
    dict(type='histomm.RandomResizedCrop', size=224, scale=(0.4, 1.0), interpolation='bicubic'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.0),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
    dict(type='histomm.GaussianBlur', sigma=(0.1, 2.0), prob=1.0),
]
large_second_view = [
    dict(type='histomm.RandomResizedCrop', size=224, scale=(0.4, 1.0), interpolation='bicubic'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.0),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
    dict(type='histomm.GaussianBlur', sigma=(0.1, 2.0), prob=0.1),
    dict(type='histomm.RandomSolarize', prob=0.2),
]
small_first_view = [
    dict(type='histomm.RandomResizedCrop', size=96, scale=(0.08, 0.4), interpolation='bicubic'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.0),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
    dict(type='histomm.GaussianBlur', sigma=(0.1, 2.0), prob=1.0),
]
small_second_view = [
    dict(type='histomm.RandomResizedCrop', size=96, scale=(0.08, 0.4), interpolation='bicubic'),
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
            dict(
                type='histomm.MultiView',
                views=[
                    dict(pipeline=large_first_view),
                    dict(pipeline=large_second_view),
                    dict(pipeline=small_first_view, num=3),
                    dict(pipeline=small_second_view, num=3),
                ],
            ),
            dict(type='histomm.PackViews'),
        ]
    )
)
