"""Views of regions: crops and flips of grids of tokens, whose arrays are (H, W, D) as those of images are."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from histomm.datasets.transforms.base import RandomTransform
from histomm.datasets.transforms.views import PackViews
from histomm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class TokenCrop(RandomTransform):
    """Cut a random rectangle out of a grid of tokens; each place is as likely as the others.

    **Required keys:** img

    **Modified keys:** img

    **Added keys:** crop_box (x1, y1, x2, y2 in tokens), ori_shape

    Args:
        size: Side of the crop in tokens, or (height, width).

    Raises:
        ValueError: ``size`` is below 1, or a grid is smaller.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        if min(self.size) < 1:
            raise ValueError(f'TokenCrop: size is {size}, expected at least 1 token')

    def transform(self, results: dict) -> dict:
        """Crop ``results``."""
        grid = results['img'].shape[:2]
        (height, width), rng = self.size, self.generator(results)
        if height > grid[0] or width > grid[1]:
            raise ValueError(f'TokenCrop: size is {self.size}, expected at most the grid of {grid} tokens')
        top, left = int(rng.integers(grid[0] - height + 1)), int(rng.integers(grid[1] - width + 1))
        results['img'] = results['img'][top : top + height, left : left + width]
        results['crop_box'] = float(left), float(top), float(left + width), float(top + height)
        results['ori_shape'] = grid
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size})'


@TRANSFORMS.register_module()
class TokenFlip(RandomTransform):
    """Reverse the columns of a grid of tokens; what is within a patch stays as its token has it.

    **Required keys:** img

    **Modified keys:** img

    **Added keys:** hflip

    Args:
        prob: Probability of the flip.
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'TokenFlip: prob is {prob}, expected a probability')
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Perhaps flip ``results``."""
        results['hflip'] = bool(self.generator(results).random() < self.prob)
        if results['hflip']:
            results['img'] = results['img'][:, ::-1]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'


@TRANSFORMS.register_module()
class PackTokens(PackViews):
    """As :class:`PackViews`, of grids of tokens: ``inputs`` is a list over views of tensors (D, h, w).

    The tensors have the type of the store; the data sample's metainfo has ``sample_idx``, ``slide_index`` and the
    geometry of the views in tokens.

    **Required keys:** views, or img for a single view; slide_index

    Args:
        meta_keys: Entries of the sample to keep as metainfo.

    Raises:
        KeyError: a sample lacks one of ``meta_keys``.
    """

    def __init__(self, meta_keys: Sequence[str] = ('slide_index',)) -> None:
        super().__init__(meta_keys)

    @staticmethod
    def _planes(image: np.ndarray) -> torch.Tensor:
        """(h, w, D) float16 or float32 to a contiguous (D, h, w) tensor of its own."""
        height, width, dim = image.shape
        numbers = np.ascontiguousarray(image).reshape(-1, dim)
        # OpenCV transposes in blocks, more than twice as fast as numpy, but knows no half precision
        planes = cv2.transpose(numbers.view(np.uint16 if image.itemsize == 2 else np.float32))
        return torch.from_numpy(planes.view(image.dtype).reshape(dim, height, width))
