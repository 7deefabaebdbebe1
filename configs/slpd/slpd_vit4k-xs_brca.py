# TCGA-BRCA: two prototypes a slide of at least 16 regions
_base_ = 'slpd_vit4k-xs_nsclc.py'
model = dict(num_prototypes=2)
default_hooks = dict(prototypes=dict(min_regions=16))
train_dataloader = dict(dataset=dict(data_root='data/TCGA-BRCA_regions'))
