# All regions clustered together, into four prototypes for each slide there is
_base_ = 'slpd_vit4k-xs_nsclc.py'
model = dict(scope='global', alpha_inter=0.0)
