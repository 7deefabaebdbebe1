# ViT_WSI-4096 of HIPT: IDC or ILC, from the embeddings of regions
_base_ = '../nsclc/vit-wsi_region_nsclc.py'
data = dict(data_root='data/TCGA-BRCA', classes=('IDC', 'ILC'))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
