# As the authors' code has it: a linear layer on the aggregated side, the mean of the weighted losses, a queue length
# that the batch divides, and 80,000 patches of the release without stain normalisation, named in a list file.
# The linear layer sees rows of M divided by their sums, of the scale of the projections; which scale the code has, the
# description of it does not say.
_base_ = 'moco_plm_r18_nct.py'
model = dict(
    matchers=[dict(type='histomm.PreciseLocationMatcher', match_linear=True, channels=128)],
    weight_norm='mean',
    strict_queue=True,
)
train_dataloader = dict(
    dataset=dict(data_root='data/NCT-CRC-HE-100K-NONORM', list_file='train_80k.txt'),
)
default_hooks = dict(knn=dict(dataset=dict(data_root='data/NCT-CRC-HE-100K-NONORM')))
