# For a CPU and the tokens of configs/dino/dino_vit-tiny_patches.py: 2 blocks of 3 heads on 48 numbers, 1,024 outputs,
# batch 32. The learning rate stays that of batch 256, 5e-4, eight times what the rule says: there are few steps
_base_ = 'dino_vit4k-xs_regions.py'
model = dict(
    backbone=dict(
        in_channels=96,
        arch=dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=192),
        drop_path_rate=0.0,
    ),
    neck=dict(in_channels=48, hid_channels=128, bottleneck_channels=32, out_channels=1024),
)
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(dim=96),
)
