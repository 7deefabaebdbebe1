# Three kinds of lymphoma, in the parts that tools/dataset_converters/lymphoma.py draws
_base_ = 'labelled_patches.py'
data = dict(data_root='data/lymphoma', classes=('CLL', 'FL', 'MCL'))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
