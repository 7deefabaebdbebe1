# ViT_WSI-4096 on the embeddings of regions, 192 numbers each
model = dict(
    type='histomm.BagClassifier',
    criterion='ce',
    aggregator=dict(type='histomm.ViTWSI', in_channels=192, num_classes=2),
)
