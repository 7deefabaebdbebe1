# TCGA-BRCA-100K: a folder of 224 x 224 patches cut at 20x from slides of patients that are not in BCSS
_base_ = 'nct_two_views.py'
train_dataloader = dict(
    dataset=dict(
        data_root='data/TCGA-BRCA-100K',
        # Written by tools/dataset_converters/bcss.py; '' if nothing is tested on BCSS.
        exclude_patients='data/BCSS/participants.txt',
    )
)
