# Maximum MIL: the likeliest region speaks for the slide
_base_ = '../nsclc/mil_region_nsclc.py'
data = dict(data_root='data/TCGA-BRCA', classes=('IDC', 'ILC'))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
