"""Patch contrast: patches drawn where a confidence map is certain, pulled together and pushed apart.

R. Boserup and R. Selvan, *Efficient Self-Supervision using Patch-based Contrastive Learning for Histopathology Image
Segmentation*, NLDL 2023. A network gives each pixel a confidence for each class; a patch is a window of the image times
the confidence of one class. A draw with its mean confidence makes a patch a positive or a negative of the class.

Shapes: B images of 3 channels, K classes, H×W pixels; P windows of an image, row by row; n patches drawn for each image
and class, M = B·n patches of a class, of D = 3·size² values each.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

SIMILARITIES = ('mse', 'ce')
SAMPLERS = ('probabilistic', 'uniform', 'topk')

LEAST_WEIGHT = 1e-3
"""Weight of a window of which nothing is certain, so that every window can be drawn."""

CLAMP = 1e-6
"""How far the arguments of logarithms stay away from 0 and 1; in float32 1 − 1e-6 is still below 1."""


class ContrastTerms(NamedTuple):
    """Losses of each class.

    Attributes:
        intra: (K,) eq. 7, a zero connected to the graph where a class has none.
        inter: (K,) eq. 8, likewise.
        has_intra: (K,) bool, whether the class has positives and negatives.
        has_inter: (K,) bool, whether this class and another one have positives.
    """

    intra: Tensor
    inter: Tensor
    has_intra: Tensor
    has_inter: Tensor


def window_grid(height: int, width: int, size: int, stride: int) -> tuple[int, int]:
    """Rows and columns of windows of ``size`` pixels, every ``stride`` pixels from the upper left corner.

    Raises:
        ValueError: The image is smaller than a window, or ``size`` or ``stride`` is below 1.
    """
    if size < 1 or stride < 1:
        raise ValueError(f'patches of {size} pixels every {stride} pixels, expected both numbers to be at least 1')
    if min(height, width) < size:
        raise ValueError(
            f'an image of {width}×{height} pixels is smaller than a patch of {size}×{size}; '
            'use larger images or crops, or smaller patches'
        )
    return (height - size) // stride + 1, (width - size) // stride + 1


@torch.no_grad()
def patch_statistics(confidence: Tensor, size: int, stride: int) -> tuple[Tensor, Tensor]:
    """Mean confidence and mean binary entropy of every window; constants, because they only serve to draw.

    Args:
        confidence: (B, K, H, W) in [0, 1].
        size: Side of a window in pixels.
        stride: Pixels from one window to the next.

    Returns:
        Mean confidence (B, K, P) and mean of −c·log₂c − (1 − c)·log₂(1 − c) (B, K, P), both in [0, 1] up to rounding,
        in float32, or float64 if the confidence is so.

    Raises:
        ValueError: ``confidence`` has another number of dimensions, or is smaller than a window.
    """
    if confidence.ndim != 4:
        raise ValueError(f'confidence has shape {tuple(confidence.shape)}, expected (B, K, H, W)')
    window_grid(confidence.shape[2], confidence.shape[3], size, stride)
    values = _precise(confidence)
    return _window_means(values, size, stride), _window_means(_binary_entropy(values), size, stride)


def _precise(values: Tensor) -> Tensor:
    """In float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _binary_entropy(values: Tensor) -> Tensor:
    """Entropy in bits, a logarithm of 0 counting as −100, as in torch's cross-entropy; times 0 that is 0."""
    rest = 1 - values
    entropy = values.log2().clamp_(min=-100).mul_(values)
    return entropy.addcmul_(rest, rest.log2().clamp_(min=-100)).neg_()


def _window_means(maps: Tensor, size: int, stride: int) -> Tensor:
    """Means of (B, K, H, W) over windows, (B, K, P), by two poolings.

    Windows begin and end at multiples of what divides both size and stride, so cells of that side are averaged first.
    """
    cell = math.gcd(size, stride)
    return F.avg_pool2d(F.avg_pool2d(maps, cell), size // cell, stride // cell).flatten(2)


@torch.no_grad()
def draw_patches(
    mean: Tensor,
    entropy: Tensor,
    num: int,
    sampler: str = 'probabilistic',
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Windows of each image and class, and whether they are positives.

    A window is a positive with the probability of its mean confidence. That is drawn once for a window, so one that is
    drawn twice is the same both times.

    Args:
        mean: (B, K, P) mean confidence of windows; rounding beyond [0, 1] is cut off.
        entropy: (B, K, P) mean entropy of windows, in bits.
        num: n, windows to draw.
        sampler: 'probabilistic' draws with replacement, with weights max(1 − entropy, 0.001); 'uniform' likewise with
            equal weights; 'topk' takes the n windows of least entropy.
        generator: Source of random numbers, on the device of ``mean``; None is the global one.

    Returns:
        Numbers of windows (B, K, n) and, bool, whether each is a positive (B, K, n).

    Raises:
        ValueError: A statistic is NaN, which comes from NaN in the confidence; an unknown sampler; or ``num`` is below
            1, or above P with 'topk'.
    """
    windows = mean.shape[-1]
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler is '{sampler}', expected one of {', '.join(SAMPLERS)}")
    if num < 1 or (sampler == 'topk' and num > windows):
        raise ValueError(f'{num} patches of {windows} windows, expected at least 1, and with topk no more than windows')
    if bool((mean + entropy).isnan().any()):
        raise ValueError('the confidence holds NaN; look at the images of this batch, or lower the learning rate')
    if sampler == 'topk':
        index = entropy.topk(num, largest=False).indices
    else:
        weight = torch.ones_like(entropy) if sampler == 'uniform' else (1 - entropy).clamp(min=LEAST_WEIGHT)
        drawn = torch.multinomial(weight.flatten(0, 1), num, replacement=True, generator=generator)
        index = drawn.unflatten(0, mean.shape[:2])
    positive = torch.bernoulli(mean.clamp(0, 1), generator=generator) > 0
    return index, positive.gather(2, index)


def gather_patches(images: Tensor, confidence: Tensor, index: Tensor, size: int, stride: int) -> Tensor:
    """Windows of the masked images F_k = x·C_k, all at once; only what is drawn is ever multiplied.

    Args:
        images: (B, C, H, W).
        confidence: (B, K, H, W).
        index: (B, K, n) numbers of windows.
        size: Side of a window in pixels.
        stride: Pixels from one window to the next.

    Returns:
        (K, B, n, size, size, C), in float32 at least.

    Raises:
        ValueError: Images, confidence and index are not of one batch.
    """
    alike = len(images) == len(confidence) and images.shape[2:] == confidence.shape[2:]
    if not alike or index.shape[:2] != confidence.shape[:2]:
        raise ValueError(
            f'images have shape {tuple(images.shape)}, confidence {tuple(confidence.shape)} and index '
            f'{tuple(index.shape)}, expected (B, C, H, W), (B, K, H, W) and (B, K, n)'
        )
    batch, classes = index.shape[:2]
    columns = window_grid(confidence.shape[2], confidence.shape[3], size, stride)[1]
    corners = index.transpose(0, 1)[..., None, None]
    pixels = torch.arange(size, device=index.device)
    y = corners.div(columns, rounding_mode='floor') * stride + pixels[:, None]
    x = corners % columns * stride + pixels
    image = torch.arange(batch, device=index.device).view(1, -1, 1, 1, 1)
    kind = torch.arange(classes, device=index.device).view(-1, 1, 1, 1, 1)
    return _precise(images[image, :, y, x]) * _precise(confidence[image, kind, y, x])[..., None]


def patch_similarity(rows: Tensor, columns: Tensor, kind: str = 'mse') -> Tensor:
    """Similarity of every patch in ``rows`` to every one in ``columns``, by one product of matrices.

    'mse' is −mean (a − b)², reckoned as (2a·b − a·a − b·b)/D. 'ce' is mean [a·log₂b + (1 − a)·log₂(1 − b)] with b
    clamped to [1e-6, 1 − 1e-6], reckoned as (a·log₂(b/(1 − b)) + Σ log₂(1 − b))/D; it is not symmetric.

    Args:
        rows: a, (R, D); in [0, 1] for 'ce'.
        columns: b, (N, D), likewise.
        kind: 'mse' or 'ce'.

    Returns:
        (R, N) in float32, or float64 if the patches are so.

    Raises:
        ValueError: An unknown ``kind``, or shapes that disagree.
    """
    if kind not in SIMILARITIES:
        raise ValueError(f"similarity is '{kind}', expected one of {', '.join(SIMILARITIES)}")
    if rows.ndim != 2 or columns.ndim != 2 or rows.shape[1] != columns.shape[1]:
        raise ValueError(
            f'patches have shapes {tuple(rows.shape)} and {tuple(columns.shape)}, expected (R, D) and (N, D)'
        )
    rows, columns = _precise(rows), _precise(columns)
    with torch.autocast(rows.device.type, enabled=False):
        if kind == 'mse':
            squares = rows.square().sum(1)[:, None] + columns.square().sum(1)
            return (2 * (rows @ columns.mT) - squares) / rows.shape[1]
        columns = columns.clamp(CLAMP, 1 - CLAMP)
        beside = (1 - columns).log2()
        return (rows @ (columns.log2() - beside).mT + beside.sum(1)) / rows.shape[1]


def patch_contrast_terms(
    patches: Tensor,
    positive: Tensor,
    similarity: str = 'mse',
    inter_log: bool = True,
    num_anchors: int | None = None,
    num_images: int | None = None,
    generator: torch.Generator | None = None,
) -> ContrastTerms:
    """Losses within and between classes (eqs. 7 and 8).

    With P_k and N_k the positives and negatives of class k and s the similarity,

        intra_k = 1/|P_k|² Σ_{r∈P_k} Σ_{p∈P_k} [ −s(r, p) + log Σ_{n∈N_k} exp s(r, n) ],

    and inter_k is the same with the positives of all other classes in place of N_k. The positive itself is not in the
    denominator, and p = r is among the pairs. Where a set is empty the class has no such term.

    Args:
        patches: (K, M, D).
        positive: (K, M) bool.
        similarity: 'mse' or 'ce', see :func:`patch_similarity`; the anchor r is its first argument.
        inter_log: False takes eq. 8 as it is printed, without the logarithm: −1/|P_k|² Σ Σ exp s(r, p) / Σ exp s(r, q).
        num_anchors: Draw so many anchors r from P_k, with replacement; None takes all.
        num_images: None takes means, as in the equations. A number divides, as the authors' code does, the sum over
            anchors and positives by the squared number of anchors and by this number, which is |P_k| / (anchors ·
            num_images) times the mean.
        generator: Source of random numbers for the anchors, on the device of ``patches``; None is the global one.

    Returns:
        The losses of each class.

    Raises:
        ValueError: Shapes disagree, an unknown similarity, or ``num_anchors`` is below 1.
    """
    if patches.ndim != 3 or positive.shape != patches.shape[:2]:
        raise ValueError(
            f'patches have shape {tuple(patches.shape)} and positive {tuple(positive.shape)}, '
            'expected (K, M, D) and (K, M)'
        )
    if num_anchors is not None and num_anchors < 1:
        raise ValueError(f'num_anchors is {num_anchors}, expected at least 1, or None for all positives')
    kind = torch.arange(len(positive), device=positive.device)
    kinds, drawn = kind.repeat_interleave(positive.shape[1]), positive.flatten()
    rows = drawn.nonzero().squeeze(1)
    scores = patch_similarity(patches.flatten(0, 1)[rows], patches.flatten(0, 1), similarity)
    count = positive.sum(1).to(scores.dtype)
    same = kinds[rows, None] == kinds
    intra, inter = _pair_losses(scores, same, drawn, inter_log)
    shares = _anchor_shares(positive.to(scores.dtype), num_anchors, generator)
    shares = shares.flatten()[rows] * (kinds[rows] == kind[:, None])
    scale = 1 if num_images is None else count / ((num_anchors or count.clamp(min=1)) * num_images)
    has_intra = positive.any(1) & ~positive.all(1)
    has_inter = positive.any(1) & (count.sum() > count)
    return ContrastTerms(
        torch.where(has_intra, scale * (shares * intra).sum(1), 0),
        torch.where(has_inter, scale * (shares * inter).sum(1), 0),
        has_intra,
        has_inter,
    )


def _pair_losses(scores: Tensor, same: Tensor, positive: Tensor, inter_log: bool) -> tuple[Tensor, Tensor]:
    """Means over positives p of what stands in the brackets, for each anchor: within and between classes.

    Args:
        scores: (R, N) of each anchor, a positive itself, to all patches.
        same: (R, N) bool, whether both are of one class.
        positive: (N,) bool.
        inter_log: As in :func:`patch_contrast_terms`.

    Returns:
        (R,) and (R,), finite also where a denominator has no patches.
    """
    own = (same & positive).to(scores.dtype)
    own = own / own.sum(1, keepdim=True)
    attraction = (own * scores).sum(1)
    from_own, from_others = _log_sum_exp(scores, same & ~positive), _log_sum_exp(scores, ~same & positive)
    if inter_log:
        return from_own - attraction, from_others - attraction
    return from_own - attraction, -(own * (scores - from_others[:, None]).exp()).sum(1)


def _log_sum_exp(scores: Tensor, candidate: Tensor) -> Tensor:
    """(R,) over the candidates of each row; over all of a row that has none, to keep value and gradient finite."""
    left_out = ~candidate & candidate.any(1, keepdim=True)
    return scores.masked_fill(left_out, -torch.inf).logsumexp(1)


def _anchor_shares(positive: Tensor, num: int | None, generator: torch.Generator | None) -> Tensor:
    """(K, M) how much each patch counts as an anchor of its class; sums to 1 in a class that has positives.

    Args:
        positive: (K, M) 1 or 0.
        num: Anchors to draw with replacement; None takes all.
        generator: Source of random numbers.
    """
    count = positive.sum(1, keepdim=True)
    if num is None:
        return positive / count.clamp(min=1)
    drawn = torch.multinomial(torch.where(count > 0, positive, 1), num, replacement=True, generator=generator)
    return torch.zeros_like(positive).scatter_add_(1, drawn, positive.new_full(drawn.shape, 1 / num))
