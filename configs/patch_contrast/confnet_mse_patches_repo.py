# As the authors' code has it where it differs from the paper
_base_ = 'confnet_mse_patches.py'
model = dict(num_anchors=10, repo_norm=True, empty='batch', drop_last_row=True, bn_batch_stats=True)
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        pipeline=[
            dict(type='histomm.LoadPatch'),
            dict(type='histomm.RandomCrop', size=250),
            dict(type='histomm.PackViews'),
        ],
    ),
)
