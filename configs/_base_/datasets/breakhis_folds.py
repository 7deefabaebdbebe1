# BreakHis in the folds of tools/dataset_converters/breakhis_folds.py, after Chhipa et al.: squeezed to 256 × 256, of
# which 224 × 224 are taken, and augmented with the amounts of the pre-training
_base_ = 'breakhis_classes.py'
train_pipeline = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.ResizeWhole', size=256),
    dict(type='histomm.RandomCrop', size=224),
    dict(type='histomm.RandomMirror', prob=0.3),
    dict(type='histomm.RandomAffine', translate=0.05, prob=0.2),
    dict(type='histomm.RandomAffine', angle=90.0, prob=0.3),
    dict(type='histomm.ColorJitter', brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1, prob=0.3),
    dict(type='mmpretrain.PackInputs'),
]
test_pipeline = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.ResizeWhole', size=256),
    dict(type='mmpretrain.CenterCrop', crop_size=224),
    dict(type='mmpretrain.PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    dataset=dict(list_file='folds_patient/fold0/train_60.csv', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=32,
    dataset=dict(list_file='folds_patient/fold0/val_20.csv', pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=32,
    dataset=dict(list_file='folds_patient/fold0/test_20.csv', pipeline=test_pipeline),
)

# Accuracy by image and patient; the class of the higher score, so of a probability above one half, is predicted
val_evaluator = dict(_delete_=True, type='histomm.PatientAccuracyMetric')
test_evaluator = dict(_delete_=True, type='histomm.PatientAccuracyMetric')
