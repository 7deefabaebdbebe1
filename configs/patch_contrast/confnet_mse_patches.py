_base_ = [
    '../_base_/models/confnet.py',
    '../_base_/datasets/patches_crop300.py',
    '../_base_/schedules/adam_300e.py',
    '../_base_/confnet_runtime.py',
]
