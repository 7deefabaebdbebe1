# ViT256-16 of HIPT: 384 numbers, 12 blocks, 6 heads; head 384 -> 2048 -> 2048 -> 256 -> 65,536
model = dict(
    type='histomm.DINO',
    backbone=dict(
        type='histomm.PatchViT',
        arch=dict(embed_dims=384, num_layers=12, num_heads=6, feedforward_channels=1536),
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
    ),
    neck=dict(type='histomm.DINONeck', in_channels=384, hid_channels=2048, bottleneck_channels=256, out_channels=65536),
    num_large=2,
    student_temp=0.1,
    teacher_temp=0.04,
    center_momentum=0.9,
    momentum=0.996,
    end_momentum=1.0,
    data_preprocessor=dict(type='histomm.ViewDataPreprocessor', geometry=False),
)
