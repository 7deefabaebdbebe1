# A tenth of the rate from epoch 300 and again from 600; the authors' epochs have 100 batches
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=2e-4, weight_decay=1e-4))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[300, 600], gamma=0.1)]
train_cfg = dict(by_epoch=True, max_epochs=1000)
