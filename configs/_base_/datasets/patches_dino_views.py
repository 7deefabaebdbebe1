# A folder of images, or a list of folders in data_root, without labels, as two large and eight small crops
first_large_view = [
    dict(type='histomm.RandomResizedCrop', size=224, scale=(0.4, 1.0), interpolation='bicubic'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.0),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
    dict(type='histomm.GaussianBlur', sigma=(0.1, 2.0), prob=1.0),
]
second_large_view = [
    dict(type='histomm.RandomResizedCrop', size=224, scale=(0.4, 1.0), interpolation='bicubic'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.0),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
    dict(type='histomm.GaussianBlur', sigma=(0.1, 2.0), prob=0.1),
    dict(type='histomm.RandomSolarize', prob=0.2),
]
small_view = [
    dict(type='histomm.RandomResizedCrop', size=96, scale=(0.05, 0.4), interpolation='bicubic'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.0),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
    dict(type='histomm.GaussianBlur', sigma=(0.1, 2.0), prob=0.5),
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
        type='histomm.PatchDataset',
        data_root='data/patches',
        pipeline=[
            dict(type='histomm.LoadPatch'),
            dict(
                type='histomm.MultiView',
                views=[
                    dict(pipeline=first_large_view),
                    dict(pipeline=second_large_view),
                    dict(pipeline=small_view, num=8),
                ],
            ),
            dict(type='histomm.PackViews'),
        ],
    ),
)
