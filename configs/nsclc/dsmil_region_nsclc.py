# DS-MIL in the variant of HIPT
_base_ = 'vit-wsi_region_nsclc.py'
model = dict(aggregator=dict(_delete_=True, type='histomm.DSMIL', in_channels=192, num_classes=2))
