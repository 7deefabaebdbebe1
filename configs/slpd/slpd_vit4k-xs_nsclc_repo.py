# Where the authors' code differs from the paper: the most similar prototype, and no first view with prototypes
_base_ = 'slpd_vit4k-xs_nsclc.py'
model = dict(match='argmax', skip_first_view=True)
