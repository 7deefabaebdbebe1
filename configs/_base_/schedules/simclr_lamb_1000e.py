# As simclr_lars_1000e.py, with LAMB. Its rate for b images is 4 / (100 · 2^(3 − (log2 b − 9) / 2)): 0.0025 for 128,
# 0.003536 for 256, 0.005 for 512, 0.007071 for 1024.
# It grows with the root of b; --auto-scale-lr is linear, so set lr.
_base_ = 'simclr_lars_1000e.py'
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='histomm.LAMB', lr=0.005, weight_decay=1e-6),
    # biases and batch norms have neither weight decay nor layer-wise rate
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
auto_scale_lr = dict(_delete_=True)
