# 100 epochs at a constant rate, validated after each; the weight decay is that of ResNet-18, larger networks have 1e-4
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, weight_decay=1e-5))
param_scheduler = []
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
