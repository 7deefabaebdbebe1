"""First-in first-out store of negatives."""

import torch
from mmengine.dist import all_gather
from torch import Tensor, nn

from histomm.functional import info_nce, unit_rows


class FeatureQueue(nn.Module):
    """Ring buffer of unit feature vectors, gathered over all ranks and saved with the model.

    Any number of vectors may be written at once: the buffer wraps, and of more than ``length`` vectors the last
    ``length`` stay, as if they had been written one after the other.

    Args:
        length: L, number of vectors kept; 0 keeps none.
        dim: C, their dimension.
        strict: Restore the original's rule that L is a multiple of the number written at once.

    Attributes:
        rows: (L, C) buffer of unit rows, random at first.
        pointer: Row that the next vector overwrites.
    """

    rows: Tensor
    pointer: Tensor

    def __init__(self, length: int, dim: int, strict: bool = False) -> None:
        super().__init__()
        if length < 0:
            raise ValueError(f'FeatureQueue: length is {length}, expected 0 or more')
        self.strict = strict
        self.register_buffer('rows', unit_rows(torch.randn(length, dim)))
        self.register_buffer('pointer', torch.zeros((), dtype=torch.long))

    def __len__(self) -> int:
        return self.rows.shape[0]

    def contrast(
        self,
        anchor: Tensor,
        positive: Tensor,
        temperature: float,
        weight: Tensor | None = None,
        reduction: str = 'weighted_mean',
    ) -> Tensor:
        """InfoNCE of rows (N, C), which are normalised here; see :func:`~histomm.functional.info_nce`.

        The gradient is formed beside the value, so the queue may be written to before the backward pass.
        """
        return info_nce(unit_rows(anchor), unit_rows(positive), self.rows, temperature, weight, reduction)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Write unit rows ``keys`` (m, C) of every rank, in rank order.

        Raises:
            ValueError: ``strict`` and L is no multiple of the number of gathered rows.
        """
        keys = torch.cat(all_gather(keys.detach().to(self.rows.dtype).contiguous()))
        length, written = len(self), keys.shape[0]
        if self.strict and (written == 0 or length % written):
            raise ValueError(
                f'FeatureQueue: its length {length} is no multiple of the {written} rows written at once; '
                'choose another batch size or length, or set strict=False'
            )
        if length == 0:
            return
        # The pointer is not read, because that would stop an accelerator in every step.
        skipped = max(written - length, 0)
        index = (self.pointer + skipped + torch.arange(written - skipped, device=keys.device)) % length
        self.rows[index] = keys[skipped:]
        self.pointer.add_(written).remainder_(length)
