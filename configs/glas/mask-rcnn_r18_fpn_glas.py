# Mask R-CNN with ResNet-18 and FPN on GlaS, as the literature on gland pre-training trains it.
_base_ = [
    '../_base_/models/mask-rcnn_r18_fpn.py',
    '../_base_/datasets/glas_instance.py',
    '../_base_/schedules/sgd_5k.py',
    '../_base_/detection_runtime.py',
]
