_base_ = 'autoencoder_r18_patches.py'
model = dict(backbone=dict(depth=50), in_channels=(64, 256, 512, 1024, 2048))
