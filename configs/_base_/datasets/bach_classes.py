# BACH, part A: photographs of four classes, in the parts that tools/dataset_converters/bach.py draws
_base_ = 'labelled_patches.py'
data = dict(data_root='data/BACH', classes=('Benign', 'InSitu', 'Invasive', 'Normal'))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
