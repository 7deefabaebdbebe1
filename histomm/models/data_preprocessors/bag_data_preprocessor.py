"""Bags of different sizes as one padded batch."""

import torch
from mmengine.model import BaseDataPreprocessor

from histomm.functional.bags import pad_bags
from histomm.registry import MODELS


@MODELS.register_module()
class BagDataPreprocessor(BaseDataPreprocessor):
    """Moves bags to the device, and pads them to the size of the largest.

    Takes what :class:`~histomm.BagDataset` gives after mmengine's ``pseudo_collate``.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: ``inputs``, list of B bags (L_i, D), and ``data_samples``, list of B data samples.
            training: Not used; mmengine passes it.

        Returns:
            dict: ``inputs`` (B, L, D) float32, ``mask`` (B, L) bool, true where there is an instance, and
            ``data_samples`` as given.
        """
        bags, mask = pad_bags([self.cast_data(bag).to(torch.float32) for bag in data['inputs']])
        return {'inputs': bags, 'mask': mask, 'data_samples': data.get('data_samples')}
