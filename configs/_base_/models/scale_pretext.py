# 445,825 parameters of the attention and 21,286,211 of the classifier
model = dict(
    type='histomm.ScalePretext',
    backbone=dict(type='histomm.ConfidenceNet', num_classes=1, channels=64, activation='relu'),
    classifier=dict(type='mmpretrain.ResNet', depth=34),
    num_scales=3,
    num_features=512,
    threshold=dict(type='histomm.SoftThreshold', share=0.07, momentum=0.9, slope=20),
    # Of torchvision or timm; without the file the classifier starts at random.
    weights='weights/resnet34_imagenet.pth',
    # Grey levels from 0 to 1; the model itself normalises them as ImageNet's.
    data_preprocessor=dict(type='histomm.ViewDataPreprocessor', mean=(0, 0, 0), std=(255, 255, 255)),
)
