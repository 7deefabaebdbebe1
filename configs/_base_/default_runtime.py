default_scope = 'histomm'

# Hooks have names, so that an inheriting config can change one of them or turn it off with None.
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='histomm.AtomicCheckpointHook', interval=10, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    seed=dict(type='histomm.SeedHook'),
    empty_epoch=dict(type='histomm.EmptyEpochHook'),
    nonfinite=dict(type='histomm.NonFiniteLossHook'),
    unreadable=dict(type='histomm.UnreadableFilesHook'),
    data_wait=dict(type='histomm.DataWaitHook'),
    features=dict(type='histomm.FeatureMonitorHook', interval=50),
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
