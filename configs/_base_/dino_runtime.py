# What DINO does to gradients: each parameter's clipped by itself, none for the last layer in the first epoch
_base_ = 'default_runtime.py'

default_hooks = dict(
    clip=dict(type='histomm.PerParameterClipHook', max_norm=3.0),
    frozen=dict(type='histomm.FrozenModuleHook', module='neck.last_layer', epochs=1),
)
