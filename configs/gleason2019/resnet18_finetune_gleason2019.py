# All layers are trained. From scratch; a pre-trained backbone is given on the command line.
_base_ = [
    '../_base_/models/resnet18_classifier.py',
    '../_base_/datasets/gleason2019_classes.py',
    '../_base_/schedules/adam_100e.py',
    '../_base_/classification_runtime.py',
]
model = dict(head=dict(num_classes=4))
