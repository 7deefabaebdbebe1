# Survival by Cox's partial likelihood; the batch is the risk set
_base_ = [
    '../_base_/models/bag_vit-wsi.py',
    '../_base_/datasets/slide_bags_survival.py',
    '../_base_/schedules/adam_20e.py',
    '../_base_/bag_runtime.py',
]
model = dict(
    _delete_=True,
    type='histomm.BagSurvival',
    likelihood='cox',
    ties='efron',
    aggregator=dict(type='histomm.ViTWSI', in_channels=192, num_classes=1),
)
train_dataloader = dict(batch_size=32)
auto_scale_lr = dict(base_batch_size=32)
