# Slides as bags of the embeddings of their regions, one slide a step, classes drawn equally often; cut by the folds of
# HIPT or of tools/split_slides.py. A data set changes data_root and classes of the three dataloaders.
bags = dict(
    type='histomm.BagDataset',
    data_root='data/TCGA-NSCLC',
    feature_folder='region_features',
    table='slides.csv',
    split_file='splits/splits_0.csv',
    classes=('LUAD', 'LUSC'),
)

train_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='histomm.BalancedSampler'),
    dataset=dict(part='train', **bags),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(part='val', test_mode=True, **bags),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(part='test', test_mode=True, **bags),
)
del bags

val_evaluator = dict(type='histomm.ClassificationMetric')
test_evaluator = dict(type='histomm.ClassificationMetric')
