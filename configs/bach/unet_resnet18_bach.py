# BACH, part B: U-Net with ResNet-18, four classes. From scratch; a pre-trained backbone is given on the command line.
_base_ = [
    '../_base_/models/unet_r18.py',
    '../_base_/datasets/semantic_tiles.py',
    '../_base_/schedules/adam_100e.py',
    '../_base_/segmentation_runtime.py',
]
model = dict(
    # Of ImageNet, red first, as in the configs of classification.
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    decode_head=dict(num_classes=4),
)
auto_scale_lr = dict(base_batch_size=8)
