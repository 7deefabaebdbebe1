# The most similar regions of other slides in place of prototypes of similar slides
_base_ = 'slpd_vit4k-xs_nsclc.py'
model = dict(neighbors='regions')
