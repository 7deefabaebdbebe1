# Part A by the vote of patches, after Chhipa et al. From scratch; a pre-trained backbone is given on the command line.
_base_ = [
    '../_base_/models/resnet50_classifier.py',
    '../_base_/datasets/bach_patches.py',
    '../_base_/schedules/sgd_nesterov_200e.py',
    '../_base_/classification_runtime.py',
]
model = dict(head=dict(num_classes=4))
