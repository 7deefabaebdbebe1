# NCT-CRC-HE-100K: nine class folders of 224 x 224 patches; the labels serve the online kNN alone
data_root = 'data/NCT-CRC-HE-100K'

view = [
    dict(type='histomm.RandomResizedCrop', size=224, scale=(0.2, 1.0)),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
    dict(type='histomm.GaussianBlur', sigma=(0.1, 2.0), prob=0.5),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.0),
]
train_dataloader = dict(
    batch_size=256,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='histomm.SeededSampler', shuffle=True),
    dataset=dict(
        type='histomm.PatchDataset',
        data_root=data_root,
        pipeline=[
            dict(type='histomm.LoadPatch'),
            dict(type='histomm.MultiView', views=[dict(pipeline=view, num=2)]),
            dict(type='histomm.PackViews'),
        ],
    ),
)
