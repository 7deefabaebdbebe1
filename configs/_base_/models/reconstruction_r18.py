# A U-Net on ResNet-18 that paints its input anew
model = dict(
    type='histomm.PixelReconstruction',
    backbone=dict(type='histomm.ResNetWithStem', depth=18),
    in_channels=(64, 64, 128, 256, 512),
    input='color',
    data_preprocessor=dict(
        type='histomm.ViewDataPreprocessor', mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5), geometry=False
    ),
)
