# As simclr_lars_1000e.py, with Adam, whose rate the authors keep at any batch size; theirs diverged from 256 images on
_base_ = 'simclr_lars_1000e.py'
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=1e-4, weight_decay=1e-6))
auto_scale_lr = dict(_delete_=True)
