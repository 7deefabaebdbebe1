# 200 epochs at batch size 256: ten epochs of warm-up, then a cosine to a thousandth, both updated in every iteration.
# LARS itself leaves biases and batch norms without weight decay and without layer-wise rate.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='histomm.LARS', lr=0.3, momentum=0.9, weight_decay=1e-6, eta=0.001)
)
param_scheduler = [
    # the first rate has to be above 0
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.001, begin=10, end=200, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=200)
auto_scale_lr = dict(base_batch_size=256)
