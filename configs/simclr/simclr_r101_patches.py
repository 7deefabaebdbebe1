_base_ = 'simclr_r50_patches.py'
model = dict(backbone=dict(depth=101))
