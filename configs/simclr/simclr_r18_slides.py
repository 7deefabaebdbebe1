_base_ = [
    '../_base_/models/simclr_r18.py',
    '../_base_/datasets/slide_tiles.py',
    '../_base_/schedules/simclr_lars_1000e.py',
    '../_base_/default_runtime.py',
]
