# For a CPU: the small network of configs/hipt/dino_vit4k-tiny_regions.py, with its batch of 32 and its high learning
# rate, and two prototypes a slide
_base_ = '../hipt/dino_vit4k-tiny_regions.py'
model = dict(
    type='histomm.SLPD',
    alpha_intra=1.0,
    alpha_inter=1.0,
    num_prototypes=2,
    num_neighbors=1,
    feat='bottleneck',
    match='assignment',
)
default_hooks = dict(prototypes=dict(type='histomm.PrototypeHook', warm_epoch=20, min_regions=4, crop_size=14))
