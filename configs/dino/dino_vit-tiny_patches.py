# For a CPU and images of some 64 pixels: 4 blocks of 3 heads on 96 numbers, tokens of 8 pixels, 4,096 outputs, batch 64
_base_ = 'dino_vit256-16_patches.py'
model = dict(
    backbone=dict(
        arch=dict(embed_dims=96, num_layers=4, num_heads=3, feedforward_channels=384),
        img_size=64,
        patch_size=8,
        drop_path_rate=0.0,
    ),
    neck=dict(in_channels=96, hid_channels=256, bottleneck_channels=64, out_channels=4096),
)
first_large_view = [
    dict(type='histomm.RandomResizedCrop', size=64, scale=(0.4, 1.0), interpolation='bicubic'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
]
second_large_view = [
    dict(type='histomm.RandomResizedCrop', size=64, scale=(0.4, 1.0), interpolation='bicubic'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
    dict(type='histomm.RandomSolarize', prob=0.2),
]
small_view = [
    dict(type='histomm.RandomResizedCrop', size=32, scale=(0.05, 0.4), interpolation='bicubic'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(
        pipeline=[
            dict(type='histomm.LoadPatch'),
            dict(
                type='histomm.MultiView',
                views=[
                    dict(pipeline=first_large_view),
                    dict(pipeline=second_large_view),
                    dict(pipeline=small_view, num=4),
                ],
            ),
            dict(type='histomm.PackViews'),
        ]
    ),
)
