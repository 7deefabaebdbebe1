# Trained on the labels of val_20, a fifth of the patients. Those of train_60 choose the epoch.
_base_ = 'resnet50_finetune_breakhis_folds.py'
train_dataloader = dict(dataset=dict(list_file='folds_patient/fold0/val_20.csv'))
val_dataloader = dict(dataset=dict(list_file='folds_patient/fold0/train_60.csv'))
