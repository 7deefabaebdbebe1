# The codes of BCSS in five groups.
_base_ = 'unet_r18_bcss.py'
groups = dict(
    tumor=[1, 19, 20],
    stroma=[2],
    inflammatory=[3, 10, 11],
    necrosis=[4],
    other=[5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 18, 21],
)
model = dict(decode_head=dict(num_classes=5))
train_dataloader = dict(dataset=dict(groups=groups))
val_dataloader = dict(dataset=dict(groups=groups))
test_dataloader = dict(dataset=dict(groups=groups))
