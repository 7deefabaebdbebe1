# The epoch of the best mean Dice of the classes, which is their macro-F1, on the validation part is kept
_base_ = 'default_runtime.py'
default_scope = 'mmseg'
default_hooks = dict(checkpoint=dict(interval=10, save_best='dice_macro', rule='greater'))
visualizer = dict(type='SegLocalVisualizer')
