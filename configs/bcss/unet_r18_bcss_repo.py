# As the authors' code has it: the encoder keeps its pre-trained weights and statistics, and scores are averaged over
# batches. Their leaving out of tumour is not followed.
_base_ = 'unet_r18_bcss.py'
model = dict(backbone=dict(frozen_stages=4))
val_evaluator = dict(batch_mean=True)
test_evaluator = dict(batch_mean=True)
