_base_ = 'default_runtime.py'

default_hooks = dict(
    knn=dict(
        type='histomm.OnlineKNNHook',
        interval=10,
        dataset=dict(
            type='histomm.PatchDataset',
            data_root='data/NCT-CRC-HE-100K',
            with_labels=True,
            pipeline=[
                dict(type='histomm.LoadPatch'),
                dict(type='mmpretrain.ResizeEdge', scale=224, edge='short'),
                dict(type='mmpretrain.CenterCrop', crop_size=224),
                dict(type='mmpretrain.PackInputs'),
            ],
        ),
    )
)
