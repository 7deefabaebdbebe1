# ConCL: concepts found by clustering
_base_ = [
    '../_base_/models/concl_r18.py',
    '../_base_/datasets/nct_reference_view.py',
    '../_base_/schedules/sgd_cosine_200e.py',
    '../_base_/nct_runtime.py',
]
