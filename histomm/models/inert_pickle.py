"""A pickle module for ``torch.load`` that builds tensors and plain containers and nothing else.

Checkpoints hold, beside the tensors, whatever the training framework kept: mmengine's history buffers, Lightning's
callbacks, whole configs. ``weights_only=True`` refuses such files, ``weights_only=False`` runs whatever they say. Here
every class and function that is not on a short list of tensor constructors becomes an inert object, so that the file's
tensors can be read, no code of the file runs, and the framework need not be installed.
"""

import pickle
from collections import OrderedDict
from typing import Any, BinaryIO

import torch

_ALLOWED = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('builtins', 'set'): set,
    ('__builtin__', 'set'): set,
    ('torch', 'Size'): torch.Size,
    ('torch._utils', '_rebuild_tensor'): torch._utils._rebuild_tensor,
    ('torch._utils', '_rebuild_tensor_v2'): torch._utils._rebuild_tensor_v2,
    ('torch._utils', '_rebuild_parameter'): torch._utils._rebuild_parameter,
}


class Inert:
    """Stands for an object that is not built: takes every construction and does nothing."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __call__(self, *args: Any) -> 'Inert':
        """Stand for a result as well."""
        return self

    def append(self, item: Any) -> None:
        """Ignore an element of a list that is not built."""

    def extend(self, items: Any) -> None:
        """Ignore elements of a list that is not built."""


class Unpickler(pickle.Unpickler):
    """Finds tensor constructors and dtypes; everything else is :class:`Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        """The allowed object of that name, or :class:`Inert`."""
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        found = getattr(torch, name, None) if module == 'torch' else None
        if isinstance(found, torch.dtype) or (isinstance(found, type) and name.endswith('Storage')):
            return found
        return Inert


def load(file: BinaryIO, **options: Any) -> Any:
    """As :func:`pickle.load`; ``options`` are those of the unpickler."""
    return Unpickler(file, **options).load()
