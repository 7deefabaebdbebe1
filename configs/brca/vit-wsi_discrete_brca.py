# Survival by hazards of four intervals of time, one patient a step
_base_ = '../nsclc/vit-wsi_discrete_nsclc.py'
data = dict(data_root='data/TCGA-BRCA')
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
