_base_ = [
    '../_base_/models/resnet50_classifier.py',
    '../_base_/datasets/nct_classes.py',
    '../_base_/schedules/adam_100e.py',
    '../_base_/classification_runtime.py',
]
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
