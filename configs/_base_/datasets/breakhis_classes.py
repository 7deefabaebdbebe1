# BreakHis: benign or malignant, all magnifications, in the parts that tools/dataset_converters/breakhis.py draws
_base_ = 'labelled_patches.py'
data = dict(data_root='data/BreaKHis_v1', classes=('benign', 'malignant'))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
