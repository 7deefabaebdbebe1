"""Grids of tokens on their way to the model."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from histomm.registry import MODELS


@MODELS.register_module()
class TokenDataPreprocessor(BaseDataPreprocessor):
    """Moves views of token grids to the device and makes them float32 there; the numbers stay as they are.

    Takes what ``histomm.PackTokens`` gives after mmengine's ``default_collate`` (or ``pseudo_collate``). Data samples
    stay on the CPU.

    Args:
        non_blocking: Copy to the device without waiting; takes effect with pinned memory.
    """

    def __init__(self, non_blocking: bool = True) -> None:
        super().__init__(non_blocking)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: ``inputs`` (list over V views of (B, D, h, w), or of B tensors (D, h, w)) and ``data_samples`` (list
                of B data samples, or None).
            training: Not used; mmengine passes it.

        Returns:
            dict: ``inputs`` (list over views of (B, D, h, w) float32) and ``data_samples`` as given.
        """
        inputs = [self._on_device(view) for view in data['inputs']]
        return {'inputs': inputs, 'data_samples': data.get('data_samples')}

    def _on_device(self, grids: Tensor | Sequence[Tensor]) -> Tensor:
        if not isinstance(grids, Tensor):
            grids = torch.stack(list(grids))
        if grids.ndim != 4:
            raise ValueError(f'TokenDataPreprocessor: grids of shape {tuple(grids.shape)}, expected (B, D, h, w)')
        return self.cast_data(grids).float()
