_base_ = [
    '../_base_/models/dino_vit256-16.py',
    '../_base_/datasets/patches_dino_views.py',
    '../_base_/schedules/dino_adamw_100e.py',
    '../_base_/dino_runtime.py',
]
