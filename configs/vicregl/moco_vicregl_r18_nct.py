# M_ft and M_loc: VICRegL matching inside MoCo-v2
_base_ = [
    '../_base_/models/dense_moco_r18.py',
    '../_base_/datasets/nct_two_views.py',
    '../_base_/schedules/sgd_cosine_200e.py',
    '../_base_/nct_runtime.py',
]
model = dict(
    matchers=[
        dict(type='histomm.FeatureMatcher', both_directions=True),
        dict(type='histomm.LocationMatcher', gamma=20, both_directions=True),
    ]
)
