data_root = 'data/glas/'
metainfo = dict(classes=('gland',), palette=[(0, 160, 80)])

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    # The draws of mmdet's transforms, seeded by (seed, epoch, index).
    dict(
        type='histomm.SeedGlobalRandom',
        transforms=[
            # Short side uniform in 400..522, long side at most 1333.
            dict(type='RandomResize', scale=[(1333, 400), (1333, 522)], keep_ratio=True),
            dict(type='RandomFlip', prob=0.5),
        ],
    ),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 522), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='histomm.SeededSampler', shuffle=True, infinite=True),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/train.json',
        data_prefix=dict(img=''),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/test.json',
        data_prefix=dict(img=''),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

# Only the first needs the file; the others take the masks that the test pipeline leaves in the samples.
val_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + 'annotations/test.json', metric=['bbox', 'segm']),
    dict(type='histomm.GlandMetric'),
    dict(type='histomm.InstanceOverlapMetric'),
]
test_evaluator = val_evaluator
