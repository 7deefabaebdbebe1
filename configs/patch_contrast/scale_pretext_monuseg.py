# Trained on tiles by scale; whole images of MoNuSeg are scored during training, averaged over turns and flips
_base_ = 'scale_pretext_tiles.py'
data_root = 'data/MoNuSeg'

model = dict(symmetries=8)
whole_image = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.LoadInstances'),
    dict(type='histomm.PackInstances'),
]
val_dataloader = dict(
    batch_size=1,  # images may differ in size
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='histomm.NucleiDataset',
        data_root=data_root,
        list_file='train.txt',
        test_mode=True,
        pipeline=whole_image,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='histomm.NucleiDataset',
        data_root=data_root,
        list_file='test.txt',
        test_mode=True,
        pipeline=whole_image,
    ),
)
train_cfg = dict(val_interval=10)
default_hooks = dict(checkpoint=dict(save_best='nuclei/dice_channel_by_labels', rule='greater'))
val_cfg = dict()
val_evaluator = dict(type='histomm.ConfidenceMetric', choose=True, radii=(2, 1))
test_cfg = dict()
test_evaluator = dict(type='histomm.ConfidenceMetric', channel=0, radii=(2, 1))
