# ViT_WSI-4096 of HIPT: LUAD or LUSC, from the embeddings of regions
_base_ = [
    '../_base_/models/bag_vit-wsi.py',
    '../_base_/datasets/slide_bags.py',
    '../_base_/schedules/adam_20e.py',
    '../_base_/bag_runtime.py',
]
