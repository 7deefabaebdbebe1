"""Registries of the scope ``histomm``, each a child of mmengine's root of the same name.

A part is written ``type='histomm.DenseMoCo'`` in a config; the scope prefix makes mmengine import the modules listed in
``locations``, so no ``custom_imports`` is needed. Some hold no parts of histomm: a config whose ``default_scope`` is
``histomm`` finds mmengine's through them.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from mmengine import registry as root
from mmengine.registry import Registry


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope='histomm', locations=list(locations))


MODELS = _child(root.MODELS, 'histomm.models')
MODEL_WRAPPERS = _child(root.MODEL_WRAPPERS, 'histomm.models')
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS, 'histomm.models')
DATASETS = _child(root.DATASETS, 'histomm.datasets')
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, 'histomm.datasets')
TRANSFORMS = _child(root.TRANSFORMS, 'histomm.datasets.transforms')
FUNCTIONS = _child(root.FUNCTIONS, 'histomm.datasets')
HOOKS = _child(root.HOOKS, 'histomm.engine')
METRICS = _child(root.METRICS, 'histomm.evaluation')
OPTIMIZERS = _child(root.OPTIMIZERS, 'histomm.engine')
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, 'histomm.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, 'histomm.engine')
PARAM_SCHEDULERS = _child(root.PARAM_SCHEDULERS, 'histomm.engine')
VISUALIZERS = _child(root.VISUALIZERS, 'histomm.visualization')
VISBACKENDS = _child(root.VISBACKENDS, 'histomm.visualization')


def register_on_demand(registry: Registry, name: str, library: str) -> Callable[[Callable[[], type]], Callable]:
    """Register a class whose base stands in a library that may be missing: it is made when it is first built.

    Decorates a function without arguments that imports the library and returns the class; afterwards the function
    returns the same class at every call.

    Args:
        registry: Where the class is registered.
        name: Under which name.
        library: What the function imports, for the message where that fails.
    """

    def decorate(make: Callable[[], type]) -> Callable[[], type]:
        make = cache(make)

        def build(*args: Any, **kwargs: Any) -> Any:
            try:
                part = make()
            except ImportError as error:
                raise ModuleNotFoundError(
                    f'histomm.{name} needs {library} and the compiled ops of mmcv, and found that {error}; '
                    'run `make setup` (docs/install.md)',
                    name=library,
                ) from error
            return part(*args, **kwargs)

        registry.register_module(name=name, module=build)
        return make

    return decorate
