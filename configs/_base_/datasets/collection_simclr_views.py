# A folder with a folder for each data set, and 1% of each: at least 10 images, at most 2,000
_base_ = 'patches_simclr_views.py'
train_dataloader = dict(
    dataset=dict(
        type='histomm.PatchCollection',
        data_root='data/collection',
        fraction=0.01,
        min_images=10,
        max_images=2000,
    )
)
