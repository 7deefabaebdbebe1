"""The scripts of ``tools/`` as modules, so that tests can call them without an interpreter each."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

REPO = Path(__file__).resolve().parents[1]


def load_tool(path: str) -> ModuleType:
    """A fresh module of the script at ``path``, relative to the checkout."""
    name = 'tool_' + '_'.join(Path(path).with_suffix('').parts)
    spec = importlib.util.spec_from_file_location(name, REPO / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
