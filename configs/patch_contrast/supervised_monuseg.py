_base_ = [
    '../_base_/models/confnet_supervised.py',
    '../_base_/datasets/monuseg_nuclei.py',
    '../_base_/schedules/adam_300e.py',
    '../_base_/confnet_nuclei_runtime.py',
]
# Image and map are cropped together.
train_dataloader = dict(
    dataset=dict(
        type='histomm.NucleiDataset',
        pipeline=[
            dict(type='histomm.LoadPatch'),
            dict(type='histomm.LoadInstances'),
            dict(type='histomm.RandomCrop', size=300),
            dict(type='histomm.PackInstances'),
        ],
    ),
)
train_cfg = dict(val_interval=10)
default_hooks = dict(
    checkpoint=dict(save_best='nuclei/dice_channel_by_labels', rule='greater'),
    confidence=None,  # records what the classes of patch contrast do
)
test_evaluator = dict(channel=0)
