# As resnet18_finetune_breakhis.py, but no patient is in two parts.
_base_ = 'resnet18_finetune_breakhis.py'
train_dataloader = dict(dataset=dict(list_file='splits_patient/train.csv'))
val_dataloader = dict(dataset=dict(list_file='splits_patient/val.csv'))
test_dataloader = dict(dataset=dict(list_file='splits_patient/test.csv'))
