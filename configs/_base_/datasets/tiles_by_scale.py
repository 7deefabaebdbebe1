# Tiles of at least 160 x 160 pixels in one folder for each magnification: data/tiles_by_scale/10x, 20x, 40x
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='histomm.SeededSampler', shuffle=True),
    dataset=dict(
        type='histomm.PatchDataset',
        data_root='data/tiles_by_scale',
        with_labels=True,
        pipeline=[
            dict(type='histomm.LoadPatch'),
            dict(type='histomm.RandomCrop', size=160),
            dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
            dict(type='histomm.RandomRotate90'),
            dict(type='mmpretrain.PackInputs'),
        ],
    ),
)
