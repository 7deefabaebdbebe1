# For bags of features: there is no backbone to monitor, and the last epoch alone is kept
_base_ = 'default_runtime.py'
default_hooks = dict(features=None, logger=dict(interval=100), checkpoint=dict(interval=5, max_keep_ckpts=1))
randomness = dict(seed=1)
