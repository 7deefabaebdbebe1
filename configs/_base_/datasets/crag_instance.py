# CRAG: images of about 1512 x 1516 pixels, at about half their size
_base_ = 'glas_instance.py'
data_root = 'data/CRAG/'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='histomm.SeedGlobalRandom',
        transforms=[
            # Short side uniform in 768..1024, long side at most 1333. Pillow averages over the pixels that become
            # one, as in Detectron2; OpenCV would pick some of them.
            dict(type='RandomResize', scale=[(1333, 768), (1333, 1024)], keep_ratio=True, backend='pillow'),
            dict(type='RandomFlip', prob=0.5),
        ],
    ),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 768), keep_ratio=True, backend='pillow'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + 'annotations/test.json', metric=['bbox', 'segm']),
    dict(type='histomm.GlandMetric'),
    dict(type='histomm.InstanceOverlapMetric'),
]
test_evaluator = val_evaluator
