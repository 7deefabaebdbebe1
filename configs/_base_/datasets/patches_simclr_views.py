# A folder of images, or a list of folders in data_root, without labels, as two views after Ciga et al.
view = [
    dict(type='histomm.RandomResizedCrop', size=224, scale=(0.01, 1.0)),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
    dict(type='histomm.RandomRotate90', prob=0.75),
    dict(type='histomm.ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, prob=0.8),
    dict(type='histomm.GaussianBlur', sigma=(0.1, 2.0), prob=0.5),
]
train_dataloader = dict(
    batch_size=512,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='histomm.SeededSampler', shuffle=True),
    dataset=dict(
        type='histomm.PatchDataset',
        data_root='data/patches',
        pipeline=[
            dict(type='histomm.LoadPatch'),
            dict(type='histomm.MultiView', views=[dict(pipeline=view, num=2)]),
            dict(type='histomm.PackViews'),
        ],
    ),
)
