"""Switches that make a training step faster and leave what it computes: in a config, and in the model that is built.

docs/speed.md says what each is for, and how near its results are to those without it.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.optim import Optimizer

FUSED = ('SGD', 'Adam', 'AdamW', 'Adagrad')
"""Optimisers of torch with a fused form."""

MULTI_TENSOR = ('histomm.LARS', 'histomm.LAMB')
"""Optimisers that step through all tensors at once as they are."""


def enable_amp(cfg: Config) -> None:
    """Forward passes under autocast to bfloat16, unless the config has a mixed precision of its own.

    Raises:
        ValueError: the config has another wrapper of the optimiser.
    """
    wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if wrapper in ('AmpOptimWrapper', 'histomm.AutocastOptimWrapper'):
        return
    if wrapper != 'OptimWrapper':
        raise ValueError(f'optim_wrapper.type is {wrapper}, expected OptimWrapper; set it in the config')
    cfg.optim_wrapper.type = 'histomm.AutocastOptimWrapper'


def enable_channels_last(cfg: Config) -> None:
    """Images and convolutions in the memory format ``torch.channels_last``; see :func:`in_memory_format`.

    Raises:
        ValueError: the config's data preprocessor cannot do it.
    """
    preprocessor = cfg.model.get('data_preprocessor') or {}
    if preprocessor.get('type') not in ('histomm.ViewDataPreprocessor', 'histomm.BatchViews'):
        raise ValueError(
            f'model.data_preprocessor is {preprocessor.get("type")}, expected histomm.ViewDataPreprocessor, which has '
            'channels_last; run without'
        )
    preprocessor.channels_last = True


def enable_fused(cfg: Config) -> None:
    """The fused form of the optimiser; those of :data:`MULTI_TENSOR` need none.

    Raises:
        ValueError: the optimiser has no fused form.
    """
    optimizer = cfg.optim_wrapper.optimizer
    if optimizer.type in MULTI_TENSOR:
        return
    if optimizer.type not in FUSED:
        raise ValueError(
            f'optim_wrapper.optimizer is {optimizer.type}, expected one of {", ".join((*FUSED, *MULTI_TENSOR))}; '
            'run without'
        )
    optimizer.fused = True


def enable_compile(cfg: Config) -> None:
    """``compile = True``, unless the config says how to compile; see :func:`compile_modules`."""
    cfg.compile = cfg.get('compile') or True


SWITCHES: dict[str, Callable[[Config], None]] = {
    'amp': enable_amp,
    'channels_last': enable_channels_last,
    'fused': enable_fused,
    'compile': enable_compile,
}
"""Switches by the name of their option, in the order in which to try them."""


def in_memory_format(model: nn.Module) -> nn.Module:
    """``model`` in the memory format of the images that its data preprocessor hands over.

    Averaged encoders are parts of the model and follow; state dicts keep names, shapes and values.
    """
    images = getattr(getattr(model, 'data_preprocessor', None), 'memory_format', torch.contiguous_format)
    return model.to(memory_format=images) if images is torch.channels_last else model


def keep_own_form(optimizer: Optimizer) -> None:
    """Let an optimiser that goes on from a checkpoint stay fused, or not; torch would take the checkpoint's form.

    Its moments also take the memory format of the weights. Fused optimisers need that, and on a CPU do not look: they
    would add the numbers of a checkpoint in another format to the wrong weights.
    """
    own = {name: optimizer.defaults[name] for name in ('fused', 'foreach') if name in optimizer.defaults}

    def replace(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        return dict(state, param_groups=[group | own for group in state['param_groups']])

    def lay_out(optimizer: Optimizer) -> None:
        for weight, state in optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                    state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)

    optimizer.register_load_state_dict_pre_hook(replace)
    optimizer.register_load_state_dict_post_hook(lay_out)


def compile_modules(model: nn.Module, options: bool | dict[str, Any] | None) -> list[str]:
    """Let parts of a model run through ``torch.compile``; names in its state dict stay as they are.

    What is compiled is the ``forward`` of each part. Hooks on the part, as the monitors of features have them, are
    called as before, and whoever copies weights or saves them sees no difference. A copy of the module itself would go
    on calling the original, so averaged encoders have to be made before, as all of histomm are.

    Args:
        model: In a distributed wrapper or not.
        options: None or False does nothing. True compiles the backbone. A dict has arguments of ``torch.compile``, such
            as ``backend`` and ``mode``, and ``modules``, dotted paths of the parts, such as ``['backbone', 'dense']``.
            The twins of a part in averaged encoders, of the same class and shapes, are compiled with it.

    Returns:
        Paths of the parts compiled.

    Raises:
        ValueError: the model has no such part, or ``torch.compile`` no such argument.
    """
    if not options:
        return []
    settings = {} if options is True else dict(options)
    known = ['modules', *list(signature(torch.compile).parameters)[1:]]
    if unknown := settings.keys() - set(known):
        raise ValueError(f'compile has {", ".join(sorted(unknown))}, expected fields among {", ".join(known)}')
    model = model.module if is_model_wrapper(model) else model
    parts = dict(model.named_modules())
    found: list[str] = []
    for wanted in settings.pop('modules', ['backbone']):
        if wanted not in parts:
            children = ', '.join(name for name, _ in model.named_children())
            raise ValueError(
                f'compile: {type(model).__name__} has no module {wanted!r}, expected paths in {children}; '
                'set compile.modules'
            )
        found += [name for name, part in parts.items() if _alike(part, parts[wanted]) and name not in found]
    for name in found:
        parts[name].forward = torch.compile(parts[name].forward, **settings)
    return found


def _alike(part: nn.Module, other: nn.Module) -> bool:
    """Whether two modules have the same class, and parameters of the same names and shapes."""
    if type(part) is not type(other):
        return False
    shapes = [{name: value.shape for name, value in module.named_parameters()} for module in (part, other)]
    return shapes[0] == shapes[1]
