# MoNuSeg: crops of the training images, without labels, and whole images with instances
_base_ = ['patches_crop300.py', 'monuseg_whole_images.py']
train_dataloader = dict(dataset=dict(data_root='data/MoNuSeg', list_file='train.txt'))
