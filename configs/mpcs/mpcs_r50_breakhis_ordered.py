_base_ = [
    '../_base_/models/mpcs_r50.py',
    '../_base_/datasets/breakhis_magnification_pairs.py',
    '../_base_/schedules/mpcs_lars_1000e.py',
    '../_base_/default_runtime.py',
]
