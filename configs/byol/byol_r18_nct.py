_base_ = [
    '../_base_/models/byol_r18.py',
    '../_base_/datasets/nct_two_views.py',
    '../_base_/schedules/lars_cosine_200e.py',
    '../_base_/nct_runtime.py',
]
