# A folder of images of at least 300 x 300 pixels, without labels; an epoch takes one crop of each
train_dataloader = dict(
    batch_size=10,
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='histomm.SeededSampler', shuffle=True),
    dataset=dict(
        type='histomm.PatchDataset',
        data_root='data/patches',
        pipeline=[
            dict(type='histomm.LoadPatch'),
            dict(type='histomm.RandomCrop', size=300),
            dict(type='histomm.PackViews'),
        ],
    ),
)
