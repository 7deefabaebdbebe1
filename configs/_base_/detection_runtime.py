# Runs of mmdet, counted in iterations.
_base_ = 'default_runtime.py'
default_scope = 'mmdet'

default_hooks = dict(
    # Without it all evaluations would stand at step 0.
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=1000),
    visualization=dict(type='DetVisualizationHook'),
    # 200 batches, before each evaluation and checkpoint.
    precise_bn=dict(type='histomm.PreciseBNHook', interval=1000, num_iters=200),
)
env_cfg = dict(cudnn_benchmark=False)
visualizer = dict(type='DetLocalVisualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
