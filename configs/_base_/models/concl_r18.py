_base_ = 'mocov2_r18.py'
model = dict(
    type='histomm.ConCL',
    # The first map, of stage 3, is clustered; the last goes into the neck.
    backbone=dict(out_indices=(2, 3)),
    num_concepts=8,
    concept_weight=1.0,
    start_epoch=20,
)
