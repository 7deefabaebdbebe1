# Patients with the time until death, or until they were last seen, all slides of a patient in one bag. The table has
# the columns slide, patient, time and event; the folds are those of tools/split_slides.py --survival.
_base_ = 'slide_bags.py'
data = dict(
    table='survival.csv',
    split_file='survival_splits/splits_0.csv',
    target='survival',
    unit='patient',
    classes=None,
)
train_dataloader = dict(sampler=dict(_delete_=True, type='histomm.SeededSampler'), dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)

val_evaluator = dict(_delete_=True, type='histomm.SurvivalMetric')
test_evaluator = dict(_delete_=True, type='histomm.SurvivalMetric', bootstrap=1000)
