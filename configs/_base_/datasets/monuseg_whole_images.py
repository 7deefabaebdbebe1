# Whole images of MoNuSeg with instances, as tools/dataset_converters/monuseg.py writes it: the training set to choose a
# channel and an epoch (val), and the test set
data_root = 'data/MoNuSeg'

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
