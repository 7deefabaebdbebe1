_base_ = [
    '../_base_/models/simclr_r18.py',
    '../_base_/datasets/collection_simclr_views.py',
    '../_base_/schedules/simclr_lars_1000e.py',
    '../_base_/default_runtime.py',
]
