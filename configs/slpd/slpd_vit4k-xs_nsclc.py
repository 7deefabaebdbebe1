# TCGA-NSCLC: four prototypes a slide of at least 32 regions
_base_ = [
    '../_base_/models/slpd_vit4k-xs.py',
    '../_base_/datasets/region_tokens_dino_views.py',
    '../_base_/schedules/dino_adamw_100e.py',
    '../_base_/slpd_runtime.py',
]
train_dataloader = dict(dataset=dict(data_root='data/TCGA-NSCLC_regions'))
