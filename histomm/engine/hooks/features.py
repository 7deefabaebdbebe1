"""What hooks share: finding the model, parts of it such as the backbone, and pooling what these give."""

from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, float32, nn


def bare_model(runner: Runner) -> nn.Module:
    """The runner's model, out of any distributed wrapper."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def find_module(runner: Runner, path: str) -> nn.Module:
    """The submodule ``path`` (dotted) of the runner's model, within any distributed wrapper.

    Raises:
        ValueError: the model has no such submodule.
    """
    model = bare_model(runner)
    try:
        return model.get_submodule(path)
    except AttributeError:
        children = ', '.join(name for name, _ in model.named_children())
        raise ValueError(f'{type(model).__name__} has no module {path!r}, expected one of {children}') from None


def pool_features(output: Any) -> Tensor:
    """One detached float32 vector a sample from what a backbone returns.

    Args:
        output: A map (B, C, H, W), averaged over H and W; tokens (B, L, C), averaged over L; vectors (B, C), taken as
            they are; or a tuple or list, whose last item counts.

    Returns:
        Features (B, C).

    Raises:
        TypeError: ``output`` is none of these.
    """
    if isinstance(output, (tuple, list)) and output:
        output = output[-1]
    dims = {2: None, 3: 1, 4: (2, 3)}
    if not isinstance(output, Tensor) or output.ndim not in dims:
        found = f'a tensor of shape {tuple(output.shape)}' if isinstance(output, Tensor) else type(output).__name__
        raise TypeError(f'the monitored module returned {found}, expected (B, C, H, W), (B, L, C) or (B, C)')
    if output.ndim == 2:
        return output.detach().float()
    return output.detach().mean(dim=dims[output.ndim], dtype=float32)
