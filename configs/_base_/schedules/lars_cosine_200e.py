# As vicreg_200e.py, but the cosine goes to 0
_base_ = 'vicreg_200e.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0, begin=10, end=200, by_epoch=True, convert_to_iter_based=True),
]
