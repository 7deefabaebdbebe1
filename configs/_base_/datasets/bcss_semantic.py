data_root = 'data/BCSS'

train_pipeline = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.LoadBCSSMask'),
    # The converter writes 256 already: nothing happens then. Pillow reduces masks as the converter does.
    dict(type='Resize', scale=256, backend='pillow'),
    dict(type='histomm.RandomResizedCrop', size=256, scale=(0.4, 1.0)),
    dict(type='histomm.RandomFlip', prob_h=0.5),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='histomm.LoadPatch'),
    dict(type='Resize', scale=256, backend='pillow'),
    # After the resizing: predictions are resized to the image as it is stored, and compared with the mask as it is.
    dict(type='histomm.LoadBCSSMask'),
    dict(type='PackSegInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='histomm.SeededSampler', shuffle=True),
    dataset=dict(
        type='histomm.BCSSDataset',
        data_root=data_root,
        data_prefix=dict(img_path='train/img', seg_map_path='train/mask'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='histomm.BCSSDataset',
        data_root=data_root,
        data_prefix=dict(img_path='val/img', seg_map_path='val/mask'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='histomm.BCSSDataset',
        data_root=data_root,
        data_prefix=dict(img_path='test/img', seg_map_path='test/mask'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)

val_evaluator = dict(type='histomm.JaccardDiceMetric')
test_evaluator = val_evaluator
