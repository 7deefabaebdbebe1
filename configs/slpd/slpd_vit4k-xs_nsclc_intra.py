# Prototypes of the own slide alone
_base_ = 'slpd_vit4k-xs_nsclc.py'
model = dict(alpha_inter=0.0)
