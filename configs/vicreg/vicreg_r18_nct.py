# VICReg as its authors train it: 2048 images over all processes, at 0.2 · 2048 / 256
_base_ = [
    '../_base_/models/vicreg_r18.py',
    '../_base_/datasets/nct_vicreg_views.py',
    '../_base_/schedules/vicreg_200e.py',
    '../_base_/nct_runtime.py',
]
train_dataloader = dict(batch_size=2048)
optim_wrapper = dict(optimizer=dict(lr=1.6))
auto_scale_lr = dict(base_batch_size=2048)
