# Tiles with a class for each pixel, as the converters of BACH, part B, and of DigestPath write them; flips alone are
# drawn. A data set changes data_root and the classes.
data_root = 'data/BACH_WSI'
metainfo = dict(
    classes=('normal', 'benign', 'in situ', 'invasive'),
    palette=[[230, 220, 230], [0, 160, 80], [255, 140, 0], [200, 0, 0]],
)

train_pipeline = [
    dict(type='histomm.LoadPatch'),
    dict(type='LoadAnnotations'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='histomm.LoadPatch'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='histomm.SeededSampler', shuffle=True),
    dataset=dict(
        type='BaseSegDataset',
        data_root=data_root,
        data_prefix=dict(img_path='train/img', seg_map_path='train/mask'),
        img_suffix='.png',
        seg_map_suffix='.png',
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BaseSegDataset',
        data_root=data_root,
        data_prefix=dict(img_path='val/img', seg_map_path='val/mask'),
        img_suffix='.png',
        seg_map_suffix='.png',
        metainfo=metainfo,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BaseSegDataset',
        data_root=data_root,
        data_prefix=dict(img_path='test/img', seg_map_path='test/mask'),
        img_suffix='.png',
        seg_map_suffix='.png',
        metainfo=metainfo,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)

val_evaluator = dict(type='histomm.JaccardDiceMetric')
test_evaluator = val_evaluator
