# After Chhipa et al., as resnet50_finetune_breakhis_folds.py
_base_ = [
    '../_base_/models/efficientnet-b2_classifier.py',
    '../_base_/datasets/breakhis_folds.py',
    '../_base_/schedules/adam_100e.py',
    '../_base_/classification_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
            dict(
                type='histomm.PretrainedIfPresent',
                checkpoint='weights/efficientnet-b2_imagenet.pth',
                prefix='backbone',
                # which networks of TensorFlow have not
                allow_missing=['*.num_batches_tracked'],
            ),
        ]
    ),
    head=dict(type='histomm.DropoutLinearHead', num_classes=2, dropout=0.3),
    # grey levels from 0 to 1, as in the pre-training
    data_preprocessor=dict(mean=[0, 0, 0], std=[255, 255, 255]),
)
optim_wrapper = dict(optimizer=dict(lr=2e-5, weight_decay=0))
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(checkpoint=dict(save_best='patients/pla'))
