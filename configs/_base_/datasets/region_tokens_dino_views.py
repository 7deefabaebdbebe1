# Regions as grids of 16 x 16 tokens of 384 numbers, as tools/wsi/extract_region_tokens.py stores them: two crops of
# 14 x 14 tokens and eight of 6 x 6, half of them flipped; nothing is resized
large_view = [
    dict(type='histomm.TokenCrop', size=14),
    dict(type='histomm.TokenFlip', prob=0.5),
]
small_view = [
    dict(type='histomm.TokenCrop', size=6),
    dict(type='histomm.TokenFlip', prob=0.5),
]
train_dataloader = dict(
    batch_size=256,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='histomm.SeededSampler', shuffle=True),
    dataset=dict(
        type='histomm.RegionTokenDataset',
        data_root='data/region_tokens',
        dim=384,
        pipeline=[
            dict(
                type='histomm.MultiView',
                views=[dict(pipeline=large_view, num=2), dict(pipeline=small_view, num=8)],
            ),
            dict(type='histomm.PackTokens'),
        ],
    ),
)
