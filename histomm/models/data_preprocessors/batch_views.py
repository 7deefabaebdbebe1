"""Views of a batch of whole images, made on the device."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from histomm.datasets.collate import pad_to
from histomm.datasets.transforms import ViewDraws, view_draws
from histomm.functional.resample import flips_of_turns
from histomm.models.data_preprocessors.colour_steps import apply_step
from histomm.models.data_preprocessors.view_data_preprocessor import ViewDataPreprocessor
from histomm.models.data_preprocessors.view_ops import BACKENDS, compiled
from histomm.registry import MODELS


@MODELS.register_module()
class BatchViews(ViewDataPreprocessor):
    """Makes the views of a batch on the device: crops, flips, turns and colours, each image with its own draws.

    Takes what ``histomm.PackDraws`` gives after ``histomm.pad_collate`` (or mmengine's ``pseudo_collate``): whole
    uint8 images and the numbers that ``histomm.DrawViews`` drew for their views. The same draws give the views of
    ``histomm.MultiView`` within a few grey levels. Batches without draws are treated as by
    :class:`ViewDataPreprocessor`.

    Args:
        views: The list of ``histomm.DrawViews``.
        chunk_size: Images at a time; fewer take less memory.
        backend: 'torch' computes what the pipeline computes. 'kornia' jitters and blurs with kornia's functions, which
            know no steps of 8 bits.
        compile: Compile the jitters with ``torch.compile`` when they are first used.
        others: Arguments of :class:`ViewDataPreprocessor`.

    Raises:
        ModuleNotFoundError: kornia is missing.
        ValueError: a bad argument.
    """

    def __init__(
        self,
        views: Sequence[dict],
        chunk_size: int = 64,
        backend: str = 'torch',
        compile: bool = False,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        if chunk_size < 1:
            raise ValueError(f'BatchViews: chunk_size is {chunk_size}, expected at least 1')
        self.views = view_draws(views)
        self.chunk_size = chunk_size
        if backend not in BACKENDS:
            raise ValueError(f'BatchViews: backend is {backend!r}, expected one of {[*BACKENDS]}')
        ops = BACKENDS[backend]()
        self.ops = compiled(ops) if compile else ops

    def forward(self, data: dict, training: bool = False) -> dict:
        """Make the views of a batch.

        Args:
            data: ``inputs`` (uint8 (B, 3, H, W), or B images (3, H, W) of unlike sizes), ``draws`` (list over V views
                of (B, P) numbers, or of B rows) and ``data_samples`` (list of B data samples).
            training: Not used; mmengine passes it.

        Returns:
            dict: as of :class:`ViewDataPreprocessor`: ``inputs`` is a list over views.

        Raises:
            ValueError: the draws are of another list of views.
        """
        if 'draws' not in data:
            return super().forward(data, training)
        draws = [rows if isinstance(rows, Tensor) else torch.stack(list(rows)) for rows in data['draws']]
        found, expected = [rows.shape[1] for rows in draws], [view.columns for view in self.views]
        if found != expected:
            raise ValueError(
                f'BatchViews: found draws for {len(found)} views of {found} numbers, expected {len(expected)} of '
                f'{expected}; give it the list of views of histomm.DrawViews'
            )
        images = self._images(data['inputs'])
        # mixed precision of the model would round the weights of crops to a hundredth
        with torch.autocast(images.device.type, enabled=False):
            made = [self._view(images, rows, view) for rows, view in zip(draws, self.views, strict=True)]
        return super().forward(dict(inputs=made, data_samples=data.get('data_samples')), training)

    def _images(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """A batch on the device, padded where sizes are unlike."""
        if not isinstance(images, Tensor):
            height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
            images = torch.stack([pad_to(image, height, width) for image in images])
        if images.dtype != torch.uint8:
            raise ValueError(f'BatchViews: images are {images.dtype}, expected torch.uint8; use histomm.PackDraws')
        return self.cast_data(images)

    def _view(self, images: Tensor, draws: Tensor, view: ViewDraws) -> Tensor:
        """One view of all images: (B, 3, h, w) float32, whole grey levels."""
        draws = draws.cpu()
        parts = zip(images.split(self.chunk_size), draws.split(self.chunk_size), strict=True)
        return torch.cat([self._chunk(part, rows, view) for part, rows in parts])

    def _chunk(self, images: Tensor, draws: Tensor, view: ViewDraws) -> Tensor:
        numbers = draws.to(torch.float32).to(images.device, non_blocking=True)
        hflip, vflip, transpose = flips_of_turns(numbers[:, 4] > 0, numbers[:, 5] > 0, numbers[:, 6])
        made = self.ops.crop(images.float(), numbers[:, :4], hflip, vflip, view.size, view.interpolation)
        if (draws[:, 6] % 2).any():
            made = torch.where(transpose[:, None, None, None], made.mT, made)
        for step in view.colours:
            made = apply_step(made, step.transform, draws[:, step.columns], numbers[:, step.columns], self.ops)
        return made
