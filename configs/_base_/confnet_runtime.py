# The monitor of features is for encoders: it would take the four confidences for a collapse.
_base_ = 'default_runtime.py'
default_hooks = dict(features=None, confidence=dict(type='histomm.ConfidenceRecorder', interval=10))
