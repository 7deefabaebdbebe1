_base_ = [
    '../_base_/models/confnet.py',
    '../_base_/datasets/consep_nuclei.py',
    '../_base_/schedules/adam_300e.py',
    '../_base_/confnet_nuclei_runtime.py',
]
model = dict(similarity='ce')
train_cfg = dict(val_interval=10)
