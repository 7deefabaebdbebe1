# Prototypes of similar slides alone
_base_ = 'slpd_vit4k-xs_nsclc.py'
model = dict(alpha_intra=0.0)
