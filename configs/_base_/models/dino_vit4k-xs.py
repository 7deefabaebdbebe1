# ViT4096-256 of HIPT on tokens: 384 -> 192 numbers, 6 blocks, 6 heads; head 192 -> 2048 -> 2048 -> 256 -> 65,536
model = dict(
    type='histomm.DINO',
    backbone=dict(
        type='histomm.RegionViT',
        in_channels=384,
        grid_size=14,
        arch=dict(embed_dims=192, num_layers=6, num_heads=6, feedforward_channels=768),
        drop_path_rate=0.1,
    ),
    neck=dict(type='histomm.DINONeck', in_channels=192, hid_channels=2048, bottleneck_channels=256, out_channels=65536),
    num_large=2,
    student_temp=0.1,
    teacher_temp=0.04,
    center_momentum=0.9,
    momentum=0.996,
    end_momentum=1.0,
    data_preprocessor=dict(type='histomm.TokenDataPreprocessor'),
)
