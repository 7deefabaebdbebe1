# Pairs from slides, where both pictures of a pair do show the same place
_base_ = [
    '../_base_/models/mpcs_r50.py',
    '../_base_/datasets/slide_magnifications.py',
    '../_base_/schedules/mpcs_lars_1000e.py',
    '../_base_/default_runtime.py',
]
