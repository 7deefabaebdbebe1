# All layers are trained. From scratch; a pre-trained backbone is given on the command line.
_base_ = [
    '../_base_/models/resnet18_regressor.py',
    '../_base_/datasets/breastpathq_values.py',
    '../_base_/schedules/adam_100e.py',
    '../_base_/classification_runtime.py',
]
default_hooks = dict(checkpoint=dict(save_best='regression/l1', rule='less'))
