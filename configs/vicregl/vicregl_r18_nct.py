# VICRegL: the nearest projection of every cell, and the 20 nearest locations
_base_ = [
    '../_base_/models/vicregl_r18.py',
    '../_base_/datasets/nct_vicreg_views.py',
    '../_base_/schedules/vicreg_200e.py',
    '../_base_/nct_runtime.py',
]
model = dict(
    matchers=[
        dict(type='histomm.FeatureMatcher', space='projection', metric='l2', both_directions=True),
        dict(type='histomm.LocationMatcher', gamma=20),
    ]
)
