# 200 epochs at batch size 256: ten epochs of warm-up, then a cosine to 0, both updated in every iteration.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='histomm.LARS', lr=0.3, momentum=0.9, weight_decay=1e-6))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=190, eta_min=0, by_epoch=True, begin=10, end=200, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=200)
auto_scale_lr = dict(base_batch_size=256)
