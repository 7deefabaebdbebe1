# Trained on tiles by scale; whole images of MoNuSeg are scored during training, averaged over turns and flips
_base_ = ['scale_pretext_tiles.py', '../_base_/datasets/monuseg_whole_images.py']
model = dict(symmetries=8)
train_cfg = dict(val_interval=10)
default_hooks = dict(checkpoint=dict(save_best='nuclei/dice_channel_by_labels', rule='greater'))
val_cfg = dict()
val_evaluator = dict(type='histomm.ConfidenceMetric', choose=True, radii=(2, 1))
test_cfg = dict()
test_evaluator = dict(type='histomm.ConfidenceMetric', channel=0, radii=(2, 1))
