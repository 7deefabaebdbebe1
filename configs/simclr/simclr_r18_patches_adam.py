_base_ = [
    '../_base_/models/simclr_r18.py',
    '../_base_/datasets/patches_simclr_views.py',
    '../_base_/schedules/simclr_adam_1000e.py',
    '../_base_/default_runtime.py',
]
train_dataloader = dict(batch_size=128)
