# As resnet50_finetune_bach_patches.py, with the stain of each patch brought to the statistics that the authors name
_base_ = 'resnet50_finetune_bach_patches.py'
stain = dict(type='histomm.ReinhardNormalize')
test_pipeline = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.ResizeWhole', size=224),
    stain,
    dict(type='mmpretrain.PackInputs'),
]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='histomm.LoadPatch'),
            dict(type='histomm.ResizeWhole', size=224),
            stain,
            dict(type='histomm.ColorJitter', brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1, prob=0.3),
            dict(type='histomm.RandomMirror', prob=0.3),
            dict(type='histomm.RandomAffine', angle=90.0, prob=0.3),
            dict(type='histomm.RandomAffine', translate=0.05, prob=0.2),
            dict(type='mmpretrain.PackInputs'),
        ]
    )
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
