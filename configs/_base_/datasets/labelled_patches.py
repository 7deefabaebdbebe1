# Patches in class folders, cut into training, validation and test by the lists of tools/split_patches.py; flips alone
# are drawn. A data set changes data_root, the lists and the classes.
data_root = 'data/NCT-CRC-HE-100K'
classes = ('ADI', 'BACK', 'DEB', 'LYM', 'MUC', 'MUS', 'NORM', 'STR', 'TUM')

train_pipeline = [
    dict(type='histomm.LoadPatch'),
    dict(type='mmpretrain.ResizeEdge', scale=224, edge='short', backend='pillow'),
    dict(type='mmpretrain.CenterCrop', crop_size=224),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
    dict(type='mmpretrain.PackInputs'),
]
test_pipeline = [
    dict(type='histomm.LoadPatch'),
    dict(type='mmpretrain.ResizeEdge', scale=224, edge='short', backend='pillow'),
    dict(type='mmpretrain.CenterCrop', crop_size=224),
    dict(type='mmpretrain.PackInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='histomm.SeededSampler', shuffle=True),
    dataset=dict(
        type='histomm.PatchDataset',
        data_root=data_root,
        list_file='splits/train.csv',
        with_labels=True,
        classes=classes,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='histomm.PatchDataset',
        data_root=data_root,
        list_file='splits/val.csv',
        with_labels=True,
        classes=classes,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='histomm.PatchDataset',
        data_root=data_root,
        list_file='splits/test.csv',
        with_labels=True,
        classes=classes,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)

val_evaluator = dict(type='histomm.ClassificationMetric')
test_evaluator = dict(type='histomm.ClassificationMetric', bootstrap=1000)
