"""Registries of the scope ``histomm``, each a child of mmengine's root of the same name.

A part is written ``type='histomm.DenseMoCo'`` in a config; the scope prefix makes mmengine import the modules listed in
``locations``, so no ``custom_imports`` is needed.
"""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope='histomm', locations=list(locations))


MODELS = _child('model', MMENGINE_MODELS, 'histomm.models')
WEIGHT_INITIALIZERS = _child('weight initializer', MMENGINE_WEIGHT_INITIALIZERS, 'histomm.models')
DATASETS = _child('dataset', MMENGINE_DATASETS, 'histomm.datasets')
DATA_SAMPLERS = _child('data sampler', MMENGINE_DATA_SAMPLERS, 'histomm.datasets')
TRANSFORMS = _child('transform', MMENGINE_TRANSFORMS, 'histomm.datasets.transforms')
HOOKS = _child('hook', MMENGINE_HOOKS, 'histomm.engine')
METRICS = _child('metric', MMENGINE_METRICS, 'histomm.evaluation')
