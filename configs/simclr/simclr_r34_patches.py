_base_ = 'simclr_r18_patches.py'
model = dict(backbone=dict(depth=34))
