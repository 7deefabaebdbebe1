# MoNuSeg as tools/dataset_converters/monuseg.py writes it: crops of the training images, without labels; whole images
# with instances to choose a channel and a threshold on the training set (val), and to test
_base_ = 'patches_crop300.py'
data_root = 'data/MoNuSeg'

whole_image = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.LoadInstances'),
    dict(type='histomm.PackInstances'),
]
train_dataloader = dict(dataset=dict(data_root=data_root, list_file='train.txt'))
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
