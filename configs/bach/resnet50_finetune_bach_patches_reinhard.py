# As resnet50_finetune_bach_patches.py, on what tools/dataset_converters/normalize_stain.py makes of the photographs
_base_ = 'resnet50_finetune_bach_patches.py'
train_dataloader = dict(dataset=dict(data_root='data/BACH_reinhard'))
val_dataloader = dict(dataset=dict(data_root='data/BACH_reinhard'))
test_dataloader = dict(dataset=dict(data_root='data/BACH_reinhard'))
