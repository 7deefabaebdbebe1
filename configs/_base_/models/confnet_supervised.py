# The network of patch contrast with one class, for training with masks
model = dict(
    type='histomm.SupervisedConfidence',
    backbone=dict(type='histomm.ConfidenceNet', num_classes=1),
    # Grey levels from 0 to 1; the model itself moves them to 0.05 to 1.
    data_preprocessor=dict(type='histomm.ViewDataPreprocessor', mean=(0, 0, 0), std=(255, 255, 255)),
)
