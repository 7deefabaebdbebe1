# Maximum MIL: the likeliest region speaks for the slide
_base_ = 'vit-wsi_region_nsclc.py'
model = dict(aggregator=dict(_delete_=True, type='histomm.MaxMIL', in_channels=192, num_classes=2))
