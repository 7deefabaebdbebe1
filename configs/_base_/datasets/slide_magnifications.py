# Two magnifications around one point of a slide, augmented alike; points are the middles of tiles as
# tools/wsi/tile_slides.py found them. 5X to 40X of the objective are 2, 1, 0.5 and 0.25 µm per pixel.
_base_ = 'breakhis_magnification_pairs.py'
train_dataloader = dict(
    # of slides there are more samples than a batch
    drop_last=True,
    dataset=dict(
        type='histomm.SlideMagnificationDataset',
        data_root='data/slides',
        tiles='data/tiles/tiles.parquet',
        magnifications=[5, 10, 20, 40],
        size=224,
    ),
)
