# Survival by Cox's partial likelihood; the batch is the risk set
_base_ = '../nsclc/vit-wsi_cox_nsclc.py'
data = dict(data_root='data/TCGA-BRCA')
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
