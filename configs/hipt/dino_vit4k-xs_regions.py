_base_ = [
    '../_base_/models/dino_vit4k-xs.py',
    '../_base_/datasets/region_tokens_dino_views.py',
    '../_base_/schedules/dino_adamw_100e.py',
    '../_base_/dino_runtime.py',
]
