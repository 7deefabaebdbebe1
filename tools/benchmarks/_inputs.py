"""Made-up outputs of networks and crop boxes, alike for both sides of a comparison."""

from collections.abc import Callable

import torch
from torch import Tensor

from histomm.functional import ViewGeometry


def normal(seed: int, *shape: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers drawn on the CPU, alike on every device."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return drawn.to(device, dtype)


def with_gradients(loss: Callable[[], Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """The loss and its gradients."""
    value = loss().squeeze()
    return [value.detach(), *torch.autograd.grad(value, inputs)]


def make_geometry(batch: int, side: int, device: torch.device) -> list[ViewGeometry]:
    """Two views of each image: boxes with a random corner in a source of 224 pixels, half of them flipped."""
    generator = torch.Generator().manual_seed(side)
    views = []
    for _ in range(2):
        corner = torch.rand(batch, 2, generator=generator) * 90
        box = torch.cat([corner, corner + 70 + 60 * torch.rand(batch, 2, generator=generator)], 1)
        hflip, vflip = torch.rand(2, batch, generator=generator) < 0.5
        views.append(ViewGeometry(box, hflip, vflip, torch.zeros(batch, dtype=torch.long)).to(device))
    return views
