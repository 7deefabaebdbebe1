# A folder of images, or a list of folders, as one view each, whose colours are left alone: they are to be predicted
_base_ = 'patches_simclr_views.py'
view = [
    dict(type='histomm.RandomResizedCrop', size=224, scale=(0.2, 1.0)),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
    dict(type='histomm.RandomRotate90', prob=0.75),
]
train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        pipeline=[
            dict(type='histomm.LoadPatch'),
            dict(type='histomm.MultiView', views=[dict(pipeline=view)]),
            dict(type='histomm.PackViews'),
        ]
    ),
)
