# The epoch of the best macro-F1 on the validation part is kept beside the last ones
_base_ = 'default_runtime.py'
default_hooks = dict(checkpoint=dict(interval=10, save_best='classification/macro_f1', rule='greater'))
