# Four classes without names; which of them is what is found out afterwards
model = dict(
    type='histomm.PatchContrast',
    backbone=dict(type='histomm.ConfidenceNet', num_classes=4),
    similarity='mse',
    num_patches=10,
    patch_size=50,
    patch_stride=20,
    # Grey levels from 0 to 1; the model itself moves them to 0.05 to 1.
    data_preprocessor=dict(type='histomm.ViewDataPreprocessor', mean=(0, 0, 0), std=(255, 255, 255)),
)
