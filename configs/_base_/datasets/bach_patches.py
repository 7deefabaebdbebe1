# BACH, part A, cut into patches that vote for the class of their image, after Chhipa et al.: 7 x 5 of 512 pixels,
# reduced to 224; in the parts that tools/dataset_converters/bach.py draws with --parts 60 20 20. Another data set of
# classified images changes data_root, classes, patch and overlap.
data_root = 'data/BACH'
classes = ('Benign', 'Invasive', 'InSitu', 'Normal')

# The paper names no augmentation of these data; this is that of its pre-training, after the reduction, where it costs
# less.
train_pipeline = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.ResizeWhole', size=224),
    dict(type='histomm.ColorJitter', brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1, prob=0.3),
    dict(type='histomm.RandomMirror', prob=0.3),
    dict(type='histomm.RandomAffine', angle=90.0, prob=0.3),
    dict(type='histomm.RandomAffine', translate=0.05, prob=0.2),
    dict(type='mmpretrain.PackInputs'),
]
test_pipeline = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.ResizeWhole', size=224),
    dict(type='mmpretrain.PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='histomm.SeededSampler', shuffle=True),
    dataset=dict(
        type='histomm.GridPatchDataset',
        data_root=data_root,
        list_file='splits_mpcs/train.csv',
        patch=512,
        overlap=0.5,
        with_labels=True,
        classes=classes,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=35,
    num_workers=8,
    persistent_workers=True,
    drop_last=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='histomm.GridPatchDataset',
        data_root=data_root,
        list_file='splits_mpcs/val.csv',
        patch=512,
        overlap=0.5,
        with_labels=True,
        classes=classes,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=35,
    num_workers=8,
    persistent_workers=True,
    drop_last=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='histomm.GridPatchDataset',
        data_root=data_root,
        list_file='splits_mpcs/test.csv',
        patch=512,
        overlap=0.5,
        with_labels=True,
        classes=classes,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)

# Patches each by itself, and images by the vote of all their patches
val_evaluator = [
    dict(type='histomm.ClassificationMetric'),
    dict(type='histomm.MajorityVoteMetric', images='.+'),
]
test_evaluator = [
    dict(type='histomm.ClassificationMetric', bootstrap=1000, groups='.+'),
    dict(type='histomm.MajorityVoteMetric', images='.+'),
]
