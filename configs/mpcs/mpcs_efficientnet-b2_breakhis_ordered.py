_base_ = [
    '../_base_/models/mpcs_efficientnet-b2.py',
    '../_base_/datasets/breakhis_magnification_pairs.py',
    '../_base_/schedules/mpcs_adam_1000e.py',
    '../_base_/default_runtime.py',
]
view = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.ColorJitter', brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1, prob=0.3),
    dict(type='histomm.RandomMirror', prob=0.3),
    dict(type='histomm.RandomAffine', angle=90.0, prob=0.3),
    dict(type='histomm.RandomAffine', translate=0.05, prob=0.2),
    dict(type='histomm.ResizeWhole', size=341),
]
train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        pipeline=[
            dict(type='histomm.MagnificationPairSampler', strategy='ordered'),
            dict(type='histomm.MagnificationViews', pipeline=view, sync=True),
            dict(type='histomm.PackViews', meta_keys=['pair', 'patient']),
        ]
    ),
)
