_base_ = 'confnet_mse_patches.py'
model = dict(similarity='ce')
