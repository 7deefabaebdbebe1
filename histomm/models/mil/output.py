"""What an aggregator of bags gives."""

from typing import NamedTuple

from torch import Tensor


class BagOutput(NamedTuple):
    """Outputs for B bags of at most L instances.

    Attributes:
        streams: One or more (B, C) logits; each is trained, and the mean of their predictions counts.
        attention: (B, L, A) how much each instance counts, by class where A is not 1; 0 where a bag has ended.
    """

    streams: tuple[Tensor, ...]
    attention: Tensor
