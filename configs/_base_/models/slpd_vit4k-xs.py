# SLPD on the ViT4096-256 of HIPT: four prototypes a slide, one neighbour
_base_ = 'dino_vit4k-xs.py'

model = dict(
    type='histomm.SLPD',
    alpha_intra=1.0,
    alpha_inter=1.0,
    num_prototypes=4,
    num_neighbors=1,
    feat='bottleneck',
    match='assignment',
)
