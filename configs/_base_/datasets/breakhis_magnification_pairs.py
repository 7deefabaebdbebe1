# BreakHis, or pictures named as there: two magnifications of each sample, augmented alike, after Chhipa et al.
# list_file='splits_patient/train.csv' takes the pictures of a part alone.
view = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.ColorJitter', brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1, prob=0.3),
    dict(type='histomm.RandomMirror', prob=0.3),
    dict(type='histomm.RandomAffine', angle=90.0, prob=0.3),
    dict(type='histomm.RandomAffine', translate=0.05, prob=0.2),
    dict(type='histomm.ResizeWhole', size=224),
]
train_dataloader = dict(
    batch_size=1024,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    # most folds of BreakHis have fewer complete samples than the published batch
    drop_last=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='histomm.SeededSampler', shuffle=True),
    dataset=dict(
        type='histomm.MagnificationSetDataset',
        data_root='data/BreaKHis_v1',
        magnifications=[40, 100, 200, 400],
        pipeline=[
            dict(type='histomm.MagnificationPairSampler', strategy='ordered'),
            dict(type='histomm.MagnificationViews', pipeline=view, sync=True),
            dict(type='histomm.PackViews', meta_keys=['pair', 'patient']),
        ],
    ),
)
