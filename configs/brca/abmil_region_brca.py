# Gated attention MIL
_base_ = '../nsclc/abmil_region_nsclc.py'
data = dict(data_root='data/TCGA-BRCA', classes=('IDC', 'ILC'))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
