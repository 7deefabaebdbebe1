# 1,000 epochs at batch size 512 with LARS at 0.3 · 512 / 256; 0.15 for 128 images, 0.3 for 256, 1.2 for 1024.
# LARS itself leaves biases and batch norms without weight decay and without layer-wise rate.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='histomm.LARS', lr=0.6, momentum=0.9, weight_decay=1e-6, eta=0.001)
)
param_scheduler = [
    # the first rate has to be above 0
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0, begin=10, end=1000, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=1000)
auto_scale_lr = dict(base_batch_size=512)
