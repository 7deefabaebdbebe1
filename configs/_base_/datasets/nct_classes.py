# NCT-CRC-HE-100K to train and validate, its companion CRC-VAL-HE-7K of other patients to test
_base_ = 'labelled_patches.py'
test_dataloader = dict(dataset=dict(data_root='data/CRC-VAL-HE-7K', list_file=''))
