# A linear classifier of the mean of the regions
_base_ = 'vit-wsi_region_nsclc.py'
model = dict(aggregator=dict(_delete_=True, type='histomm.MeanMIL', in_channels=192, num_classes=2))
