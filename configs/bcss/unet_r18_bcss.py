# U-Net with ResNet-18 on BCSS, 21 classes. From scratch; a pre-trained backbone is given on the command line.
_base_ = [
    '../_base_/models/unet_r18.py',
    '../_base_/datasets/bcss_semantic.py',
    '../_base_/default_runtime.py',
]
default_scope = 'mmseg'

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=20, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.0005, weight_decay=0.02))
# To 0, changed once an epoch.
param_scheduler = [dict(type='CosineAnnealingLR', T_max=20, eta_min=0, by_epoch=True, begin=0, end=20)]
auto_scale_lr = dict(enable=False, base_batch_size=32)

default_hooks = dict(checkpoint=dict(interval=5))
visualizer = dict(type='SegLocalVisualizer')
