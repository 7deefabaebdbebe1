"""Patch contrast as it is read from the paper, in loops, and its network in plain torch: what is measured against.

Nothing here is shared with histomm, so that the tests take it as their reference too.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def window_corners(height: int, width: int, size: int, stride: int) -> list[tuple[int, int]]:
    """Upper left corners (y, x) of all windows, row by row."""
    return [(y, x) for y in range(0, height - size + 1, stride) for x in range(0, width - size + 1, stride)]


def entropy(values: Tensor) -> Tensor:
    """Mean binary entropy in bits, logarithms not below −100."""
    logs, rests = values.log2().clamp(min=-100), (1 - values).log2().clamp(min=-100)
    return -(values * logs + (1 - values) * rests).mean()


def statistics(confidence: Tensor, size: int, stride: int) -> tuple[Tensor, Tensor]:
    """Mean and entropy (B, K, P) of the windows of a confidence (B, K, H, W), one window after the other."""
    corners = window_corners(*confidence.shape[2:], size, stride)
    means, entropies = [], []
    for image in confidence:
        for plane in image:
            windows = [plane[y : y + size, x : x + size] for y, x in corners]
            means.append(torch.stack([window.mean() for window in windows]))
            entropies.append(torch.stack([entropy(window) for window in windows]))
    shape = (*confidence.shape[:2], len(corners))
    return torch.stack(means).view(shape), torch.stack(entropies).view(shape)


def draw(mean: Tensor, entropies: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Windows (B, K, n) drawn image by image and class by class, and which of them are positives."""
    index, positive = [], []
    for mean_of_plane, entropy_of_plane in zip(mean.flatten(0, 1), entropies.flatten(0, 1), strict=True):
        chosen = torch.multinomial((1 - entropy_of_plane).clamp(min=0.001), num, replacement=True)
        parity = torch.bernoulli(mean_of_plane.clamp(max=1))
        index.append(chosen)
        positive.append(torch.stack([parity[window] for window in chosen]) == 1)
    shape = (*mean.shape[:2], num)
    return torch.stack(index).view(shape), torch.stack(positive).view(shape)


def cut(images: Tensor, confidence: Tensor, index: Tensor, size: int, stride: int) -> list[list[Tensor]]:
    """For each class its patches of the masked images, image by image: K lists of B·n patches (C, size, size)."""
    corners = window_corners(*confidence.shape[2:], size, stride)
    classes = []
    for k in range(confidence.shape[1]):
        patches = []
        for image, planes, windows in zip(images, confidence, index, strict=True):
            masked = image * planes[k]
            for window in windows[k].tolist():
                y, x = corners[window]
                patches.append(masked[:, y : y + size, x : x + size])
        classes.append(patches)
    return classes


def mse(one: Tensor, other: Tensor) -> Tensor:
    """Similarity of two patches: the negative mean squared difference."""
    return -((one - other) ** 2).mean()


def ce(one: Tensor, other: Tensor) -> Tensor:
    """Similarity of two patches: the negative cross-entropy in bits, the second kept off 0 and 1."""
    other = other.clamp(1e-6, 1 - 1e-6)
    return (one * other.log2() + (1 - one) * (1 - other).log2()).mean()


SIMILARITIES = {'mse': mse, 'ce': ce}


def log_sum(scores: Iterable[Tensor]) -> Tensor:
    """log Σ exp."""
    return torch.stack(list(scores)).logsumexp(0)


def intra(positives: list[Tensor], negatives: list[Tensor], kind: str) -> Tensor:
    """Eq. 7 of one class."""
    similarity, total = SIMILARITIES[kind], 0.0
    for r in positives:
        denominator = log_sum(similarity(r, n) for n in negatives)
        for p in positives:
            total = total - similarity(r, p) + denominator
    return total / len(positives) ** 2


def inter(positives: list[Tensor], others: list[Tensor], kind: str, with_log: bool = True) -> Tensor:
    """Eq. 8 of one class, with the logarithm or as printed."""
    similarity, total = SIMILARITIES[kind], 0.0
    for r in positives:
        denominator = log_sum(similarity(r, q) for q in others)
        for p in positives:
            term = similarity(r, p) - denominator
            total = total - (term if with_log else term.exp())
    return total / len(positives) ** 2


def contrast(
    classes: list[list[Tensor]], positive: Tensor, kind: str, with_log: bool = True
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Both losses of each class; None where a set is empty.

    Args:
        classes: For each class its patches.
        positive: (K, M) bool.
        kind: 'mse' or 'ce'.
        with_log: Whether eq. 8 has a logarithm.
    """
    sets = [
        (
            [patch for patch, is_positive in zip(patches, flags, strict=True) if is_positive],
            [patch for patch, is_positive in zip(patches, flags, strict=True) if not is_positive],
        )
        for patches, flags in zip(classes, positive.tolist(), strict=True)
    ]
    within: list[Tensor | None] = []
    between: list[Tensor | None] = []
    for k, (positives, negatives) in enumerate(sets):
        others = [patch for j, (theirs, _) in enumerate(sets) if j != k for patch in theirs]
        within.append(intra(positives, negatives, kind) if positives and negatives else None)
        between.append(inter(positives, others, kind, with_log) if positives and others else None)
    return within, between


class PlainNet(nn.Module):
    """The network of section 3.1 in the layout and with the activation that torch has for it."""

    def __init__(self, classes: int = 4, dilations: tuple[int, ...] = (1, 2, 3, 5, 10, 20)) -> None:
        super().__init__()
        self.stem = self.unit(3, 1)
        self.blocks = nn.ModuleList(nn.Sequential(self.unit(8, d), self.unit(8, d)) for d in dilations)
        self.head = nn.Conv2d(8, classes, 1)

    @staticmethod
    def unit(channels: int, dilation: int) -> nn.Sequential:
        """Convolution, batch norm, ELU."""
        convolution = nn.Conv2d(channels, 8, 3, padding=dilation, dilation=dilation, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(8), nn.ELU())

    def forward(self, images: Tensor) -> Tensor:
        """Confidence (B, K, H, W)."""
        x = self.stem(images)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x).sigmoid()
