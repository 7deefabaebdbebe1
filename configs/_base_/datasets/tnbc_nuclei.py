# TNBC as tools/dataset_converters/tnbc.py writes it. There is no official split: all images serve for everything, so
# figures are those of training data. For others take the lists train.txt and test.txt of --test-slides.
_base_ = 'monuseg_nuclei.py'
data_root = 'data/TNBC'

train_dataloader = dict(dataset=dict(data_root=data_root, list_file='all.txt'))
val_dataloader = dict(dataset=dict(data_root=data_root, list_file='all.txt'))
test_dataloader = dict(dataset=dict(data_root=data_root, list_file='all.txt'))
