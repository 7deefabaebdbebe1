_base_ = 'mocov2_r18.py'
model = dict(
    dense_neck=dict(type='histomm.DenseNeck', in_channels=512, hid_channels=512, out_channels=128), loss_lambda=0.5
)
