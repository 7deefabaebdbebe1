# 200 epochs at a constant rate, validated after each
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-4, momentum=0.9, nesterov=True))
param_scheduler = []
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=1)
val_cfg = dict()
test_cfg = dict()
