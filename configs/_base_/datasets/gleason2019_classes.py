# Gleason2019: tiles of one grade each, in the parts that tools/dataset_converters/gleason2019.py draws
_base_ = 'labelled_patches.py'
data = dict(data_root='data/Gleason2019', classes=('benign', 'grade3', 'grade4', 'grade5'))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
