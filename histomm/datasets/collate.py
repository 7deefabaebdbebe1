"""Batches of images of unlike sizes."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.dataset import default_collate
from torch import Tensor

from histomm.registry import FUNCTIONS


def pad_to(image: Tensor, height: int, width: int) -> Tensor:
    """The image (3, H, W) with zeros below and to the right, up to (3, height, width); itself if it has that size."""
    missing = height - image.shape[1], width - image.shape[2]
    return F.pad(image, (0, missing[1], 0, missing[0])) if any(missing) else image


@FUNCTIONS.register_module()
def pad_collate(samples: Sequence[dict]) -> dict:
    """mmengine's ``default_collate``, with images padded to the largest of the batch.

    For ``histomm.PackDraws``: views lie within their images, so nothing of what was added is ever seen.

    Args:
        samples: With ``inputs``, an image (3, H, W), and whatever ``default_collate`` takes.

    Returns:
        dict: the batch; ``inputs`` is (B, 3, H, W).
    """
    height, width = (max(sample['inputs'].shape[axis] for sample in samples) for axis in (1, 2))
    return default_collate([dict(sample, inputs=pad_to(sample['inputs'], height, width)) for sample in samples])
