_base_ = [
    '../_base_/models/reconstruction_r18.py',
    '../_base_/datasets/patches_one_view.py',
    '../_base_/schedules/simclr_adam_1000e.py',
    '../_base_/default_runtime.py',
]
model = dict(input='grey')
