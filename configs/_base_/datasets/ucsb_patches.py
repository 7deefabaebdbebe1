# UCSB breast cancer cells, 4 x 4 patches of 224 pixels that vote, after Chhipa et al., in the parts that
# tools/dataset_converters/ucsb.py draws. The list names the images.
_base_ = 'bach_patches.py'
data = dict(data_root='data/BreastCancerCell_dataset', patch=224, overlap=0.0, classes=('benign', 'malignant'))
train_dataloader = dict(batch_size=8, dataset=dict(list_file='splits/train.csv', **data))
val_dataloader = dict(batch_size=16, dataset=dict(list_file='splits/val.csv', **data))
test_dataloader = dict(batch_size=16, dataset=dict(list_file='splits/test.csv', **data))
