# U-Net on ResNet-18: four blocks that double the size and join a stage, the last one the stem, and a transposed
# convolution to the size of the image. From scratch; a pre-trained backbone is given on the command line.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        # Of BCSS, red first; images are RGB before they come here.
        mean=[182.9625, 126.1995, 172.992],
        std=[50.898, 59.7975, 45.186],
        # The sides of an image have to be multiples of 32; what is added is not in the loss and cut off predictions.
        size_divisor=32,
        pad_val=0,
        seg_pad_val=255,
        test_cfg=dict(size_divisor=32),
    ),
    backbone=dict(type='histomm.ResNetWithStem', depth=18, frozen_stages=-1, norm_eval=False),
    decode_head=dict(type='histomm.UNetHead', in_channels=[64, 64, 128, 256, 512], num_classes=21),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
