# M_ft: DenseCL, features matched by cosine, query to key
_base_ = [
    '../_base_/models/dense_moco_r18.py',
    '../_base_/datasets/nct_two_views.py',
    '../_base_/schedules/sgd_cosine_200e.py',
    '../_base_/nct_runtime.py',
]
model = dict(matchers=[dict(type='histomm.FeatureMatcher')])
