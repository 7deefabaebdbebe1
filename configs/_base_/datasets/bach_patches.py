# BACH, part A, cut into patches that vote for the class of their image, after Chhipa et al.: 7 x 5 of 512 pixels,
# reduced to 224; in the parts that tools/dataset_converters/bach.py draws with --parts 60 20 20. Another data set of
# classified images changes data_root, classes, patch and overlap.
_base_ = 'labelled_patches.py'
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
data = dict(type='histomm.GridPatchDataset', data_root=data_root, patch=512, overlap=0.5, classes=classes)

train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    dataset=dict(list_file='splits_mpcs/train.csv', pipeline=train_pipeline, **data),
)
val_dataloader = dict(
    batch_size=35,
    num_workers=8,
    dataset=dict(list_file='splits_mpcs/val.csv', pipeline=test_pipeline, **data),
)
test_dataloader = dict(
    batch_size=35,
    num_workers=8,
    dataset=dict(list_file='splits_mpcs/test.csv', pipeline=test_pipeline, **data),
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
