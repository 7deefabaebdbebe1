# The last two stages dilated instead of strided: maps of 28 × 28 at 224 pixels
_base_ = 'mpcs_r50_breakhis_ordered.py'
model = dict(backbone=dict(type='histomm.DilatedResNet', output_stride=8))
