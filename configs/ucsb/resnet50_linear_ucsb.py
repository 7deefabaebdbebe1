# The linear layer alone is trained; the backbone stays as it is given on the command line, in evaluation mode.
_base_ = 'resnet50_finetune_ucsb.py'
model = dict(backbone=dict(frozen_stages=4))
