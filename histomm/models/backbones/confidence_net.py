"""A small network of dilated convolutions that gives every pixel a confidence for each class."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from histomm.registry import MODELS


@MODELS.register_module()
class ConfidenceNet(BaseModule):
    """Fully convolutional network of Boserup & Selvan (NLDL 2023), with a receptive field of 167 pixels.

    3×3 convolution, batch norm, ELU; then residual blocks x + f(x) where f is twice [3×3 dilated convolution, batch
    norm, ELU]; then a 1×1 convolution and the sigmoid. Convolutions before a batch norm have no bias. 7,372 parameters
    with 4 classes, 7,345 with one. With one class, 64 channels and ReLU it is the attention network of Sahasrabudhe et
    al. (MICCAI 2020), of 445,825 parameters.

    On the CPU it works in the memory format ``torch.channels_last``, in which convolutions of 8 channels need half the
    time.

    Args:
        num_classes: K, maps given out.
        channels: Of all hidden layers.
        dilations: Of the residual blocks, in their order.
        activation: 'elu' or 'relu'.
        in_channels: Of the images.
        init_cfg: Initialisation of mmengine's modules; torch's own by default.

    Raises:
        ValueError: An unknown activation.
    """

    def __init__(
        self,
        num_classes: int = 4,
        channels: int = 8,
        dilations: Sequence[int] = (1, 2, 3, 5, 10, 20),
        activation: str = 'elu',
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if activation not in _ACTIVATIONS:
            raise ValueError(f'ConfidenceNet: activation is {activation!r}, expected one of {[*_ACTIVATIONS]}')
        self.conv1 = _unit(in_channels, channels, 1, activation)
        self.blocks = nn.ModuleList(
            nn.Sequential(*_unit(channels, channels, d, activation), *_unit(channels, channels, d, activation))
            for d in dilations
        )
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def logits(self, images: Tensor) -> Tensor:
        """What :meth:`forward` takes the sigmoid of: images (B, 3, H, W) to (B, K, H, W)."""
        if images.device.type == 'cpu':
            images = images.contiguous(memory_format=torch.channels_last)
        x = self.conv1(images)
        for block in self.blocks:
            x = x + block(x)
        return self.classifier(x)

    def forward(self, images: Tensor) -> Tensor:
        """Confidences (B, K, H, W) in [0, 1] of images (B, 3, H, W) of any size."""
        return self.logits(images).sigmoid()


@contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """Let batch norms in evaluation mode normalise by the batch at hand; what they have learnt stays as it is."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    kept = [(layer.running_mean, layer.running_var) for layer in layers]
    try:
        for layer in layers:
            layer.running_mean = layer.running_var = None  # a batch norm without them takes those of the batch
        yield
    finally:
        for layer, (mean, variance) in zip(layers, kept, strict=True):
            layer.running_mean, layer.running_var = mean, variance


class _QuickELU(torch.autograd.Function):
    """ELU in place. torch's takes one number after the other on the CPU; exp takes many, which is ten times faster."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        """max(x, exp(min(x, 0)) − 1), since exp(x) − 1 >= x."""
        torch.maximum(x, x.clamp(max=0).exp_().sub_(1), out=x)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        """1 above 0 and y + 1 below, from the output y."""
        (y,) = ctx.saved_tensors
        return torch.ops.aten.elu_backward(grad, 1.0, 1.0, 1.0, True, y)


class _ELU(nn.Module):
    """ELU that overwrites its input, of the same values as torch's to 1e-7."""

    def forward(self, x: Tensor) -> Tensor:
        exact = x.dtype in (torch.float32, torch.float64)  # in half precision exp(x) − 1 would lose small numbers
        if x.device.type == 'cpu' and exact and not (torch.jit.is_tracing() or torch.compiler.is_compiling()):
            return _QuickELU.apply(x)
        return F.elu(x, inplace=True)


_ACTIVATIONS = {'elu': _ELU, 'relu': lambda: nn.ReLU(inplace=True)}


def _unit(in_channels: int, channels: int, dilation: int, activation: str) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), _ACTIVATIONS[activation]())
