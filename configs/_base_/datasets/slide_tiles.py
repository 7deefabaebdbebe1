# Tiles read straight from a folder of slides, as tools/wsi/tile_slides.py found them, with the views of SimCLR after
# Ciga et al. Any config that pre-trains on images takes these two lines instead: sampler and dataset.
_base_ = 'patches_simclr_views.py'
train_dataloader = dict(
    sampler=dict(type='histomm.NeighbourhoodSampler', side=1024),
    dataset=dict(type='histomm.SlideTileDataset', data_root='data/slides', tiles='data/tiles/tiles.parquet'),
)
