_base_ = 'simclr_r18_patches.py'
# the hidden layer of the head is as wide as the features, as it is for ResNet-18
model = dict(backbone=dict(depth=50), neck=dict(in_channels=2048, hid_channels=2048))
