# Survival by hazards of four intervals of time, one patient a step
_base_ = 'vit-wsi_cox_nsclc.py'
model = dict(likelihood='discrete', aggregator=dict(num_classes=4))
train_dataloader = dict(batch_size=1, dataset=dict(time_bins=4))
val_dataloader = dict(dataset=dict(time_bins=4))
test_dataloader = dict(dataset=dict(time_bins=4))
auto_scale_lr = dict(base_batch_size=1)
