_base_ = 'moco_plm_r18_nct.py'
model = dict(loss_lambda=0.25)
