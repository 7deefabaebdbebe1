# 1,000 epochs at batch size 1024 with LARS: 0.2 · 1024 / 256 for weights, 0.0048 · 1024 / 256 for biases and norms;
# 'downsample.1' is the batch norm of a ResNet's shortcut. Warm-up and cosine go on from iteration to iteration.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='histomm.LARS', lr=0.8, momentum=0.9, weight_decay=1e-6, eta=0.001),
    paramwise_cfg=dict(
        custom_keys={'bn': dict(lr_mult=0.024), 'bias': dict(lr_mult=0.024), 'downsample.1': dict(lr_mult=0.024)}
    ),
)
param_scheduler = [
    # the first rate has to be above 0
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.001,
        begin=10,
        end=1000,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=1000)
auto_scale_lr = dict(base_batch_size=1024)
