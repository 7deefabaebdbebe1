"""Weights that a model starts from if they are there."""

import logging
from pathlib import Path

from mmengine.logging import print_log
from torch import nn

from histomm.models.transfer import VerifiedPretrained
from histomm.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module()
class PretrainedIfPresent(VerifiedPretrained):
    """:class:`VerifiedPretrained` where there is such a file; else a warning, and the module starts at random.

    For configs that start from weights which not everybody has, such as those of ImageNet. A file that is there and
    does not fit is an error. Put it last in the list of ``init_cfg``, after what initialises at random.

    Args:
        checkpoint: See ``path`` of :func:`~histomm.models.load_backbone`.
        prefix: Likewise.
        allow_missing: Likewise.
        allow_unexpected: Likewise.
    """

    def __call__(self, module: nn.Module) -> None:
        """Load and verify, or warn.

        Raises:
            TransferError: the file holds another network.
        """
        if Path(self.checkpoint).exists():
            super().__call__(module)
            return
        print_log(
            f'found no {self.checkpoint}, so {type(module).__name__} starts at random; the published runs start from '
            'ImageNet: save such weights there, or set model.backbone.init_cfg to None',
            'current',
            level=logging.WARNING,
        )
