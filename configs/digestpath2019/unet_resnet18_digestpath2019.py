# DigestPath 2019: U-Net with ResNet-18, lesions against the rest.
_base_ = '../bach/unet_resnet18_bach.py'
data = dict(
    data_root='data/DigestPath2019',
    metainfo=dict(classes=('normal', 'lesion'), palette=[[230, 220, 230], [200, 0, 0]]),
)
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
model = dict(decode_head=dict(num_classes=2))
