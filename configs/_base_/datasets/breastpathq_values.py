# BreastPathQ: patches and their cellularity in percent, in the parts that tools/dataset_converters/breastpathq.py draws
_base_ = 'labelled_patches.py'
data = dict(type='histomm.ValuePatchDataset', data_root='data/BreastPathQ', with_labels=False, classes=None)
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)

val_evaluator = dict(_delete_=True, type='histomm.RegressionMetric')
test_evaluator = dict(_delete_=True, type='histomm.RegressionMetric', bootstrap=1000)
