# Whole training images are scored during training. Two best epochs are kept: by the Dice with their labels, and by a
# score that reads none. tools/eval_nuclei.py compares them and scores the test images.
_base_ = 'confnet_runtime.py'
default_hooks = dict(
    checkpoint=dict(
        save_best=['nuclei/dice_channel_by_labels', 'nuclei/haematoxylin_channel_label_free'],
        rule=['greater', 'greater'],
    ),
)
val_cfg = dict()
val_evaluator = dict(type='histomm.ConfidenceMetric', choose=True)
test_cfg = dict()
# Nothing is chosen on test images; test_evaluator.channel=<number> adds AJI and PQ of one.
test_evaluator = dict(type='histomm.ConfidenceMetric')
