# What DINO does to gradients, and prototypes at the start of each epoch from the 22nd on
_base_ = 'dino_runtime.py'

default_hooks = dict(
    prototypes=dict(
        type='histomm.PrototypeHook', warm_epoch=20, min_regions=32, crop_size=14, iterations=10, restarts=5
    ),
)
