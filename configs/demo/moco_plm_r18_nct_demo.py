# MoCo-v2 with precise location matching, cut down to some minutes on two CPU cores: small views, small batches, a short
# queue that is renewed within an epoch, and a key encoder that follows faster.
_base_ = '../plm/moco_plm_r18_nct.py'

view = [
    dict(type='histomm.RandomResizedCrop', size=112, scale=(0.2, 1.0)),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
    dict(type='histomm.GaussianBlur', sigma=(0.1, 2.0), prob=0.5),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
    dict(type='histomm.RandomRotate90', prob=0.75),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(
        pipeline=[
            dict(type='histomm.LoadPatch'),
            dict(type='histomm.MultiView', views=[dict(pipeline=view, num=2)]),
            dict(type='histomm.PackViews'),
        ]
    ),
)
model = dict(queue_len=512, momentum=0.99)

train_cfg = dict(max_epochs=5)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=5, eta_min=0, by_epoch=True, end=5, convert_to_iter_based=True)]
default_hooks = dict(
    logger=dict(interval=2),
    checkpoint=dict(interval=1, max_keep_ckpts=1),
    features=dict(interval=4, num_samples=256),
    knn=dict(
        interval=2,
        max_samples=450,
        dataset=dict(
            pipeline=[
                dict(type='histomm.LoadPatch'),
                dict(type='mmpretrain.ResizeEdge', scale=112),
                dict(type='mmpretrain.PackInputs'),
            ]
        ),
    ),
)
log_processor = dict(window_size=10)
