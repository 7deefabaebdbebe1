_base_ = [
    '../_base_/models/scale_pretext.py',
    '../_base_/datasets/tiles_by_scale.py',
    '../_base_/schedules/adam_step_1000e.py',
    '../_base_/confnet_runtime.py',
]
default_hooks = dict(confidence=None)  # records what the classes of patch contrast do
