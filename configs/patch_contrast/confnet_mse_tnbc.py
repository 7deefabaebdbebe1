_base_ = [
    '../_base_/models/confnet.py',
    '../_base_/datasets/tnbc_nuclei.py',
    '../_base_/schedules/adam_300e.py',
    '../_base_/confnet_nuclei_runtime.py',
]
train_cfg = dict(val_interval=10)
