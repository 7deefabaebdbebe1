# As the classifier, but one value from 0 to 100 for an image, trained on the absolute error
_base_ = 'resnet18_classifier.py'
model = dict(head=dict(_delete_=True, type='histomm.RegressionHead', in_channels=512, low=0.0, high=100.0))
