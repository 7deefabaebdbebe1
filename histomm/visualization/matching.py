"""Which cells of two views each matcher brings together: reckoned for one cell, for pictures.

Cells have two names: as *seen*, row r and column c of the view after its flips and turns, and *canonical*, row and
column along the axes of the source image. Matching works on canonical cells; a person points at seen ones.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from histomm import functional
from histomm.config_file import read_config
from histomm.datasets import SampleIndex
from histomm.datasets.transforms import making_views, read_image
from histomm.functional import ViewGeometry
from histomm.registry import MODELS


@dataclass(frozen=True)
class View:
    """One view of an image.

    Attributes:
        image: (H, W, 3) uint8 RGB, as seen: cropped, resized, coloured, flipped and turned.
        geometry: Where it came from, a batch of one.
    """

    image: np.ndarray
    geometry: ViewGeometry

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Crop rectangle (x1, y1, x2, y2) in source pixels."""
        return tuple(self.geometry.box[0].tolist())

    def describe(self) -> str:
        """Its flips and turns in words."""
        kinds = {(0, 0): '', (1, 0): 'mirrored left-right', (0, 1): 'mirrored top-bottom', (1, 1): 'mirrored both ways'}
        turns = int(self.geometry.rot90[0]) % 4
        words = kinds[int(self.geometry.hflip[0]), int(self.geometry.vflip[0])], f'turned {90 * turns}°' * bool(turns)
        return ', '.join(filter(None, words)) or 'upright'

    def seen_order(self, size: tuple[int, int]) -> Tensor:
        """Number of the seen cell that stands at each canonical cell, (H*W,) int64, for a map of (H, W) cells."""
        seen = torch.arange(size[0] * size[1], dtype=torch.float64).view(1, 1, *size)
        turns = self.geometry.hflip, self.geometry.vflip, self.geometry.rot90
        return functional.canonicalize(seen, *turns).flatten().long()

    def as_seen(self, cells: Tensor) -> Tensor:
        """Values (H, W) of canonical cells in the order in which they are seen."""
        seen = torch.empty_like(cells).flatten()
        seen[self.seen_order(tuple(cells.shape))] = cells.flatten()
        return seen.view_as(cells)

    def planes(self) -> Tensor:
        """The image as a batch of one, (1, 3, H, W) uint8."""
        return torch.from_numpy(self.image.transpose(2, 0, 1).copy())[None]

    def cell_boxes(self, size: tuple[int, int]) -> Tensor:
        """Rectangles (H*W, 4) of the seen cells, row by row, in source pixels."""
        boxes = torch.empty(size[0] * size[1], 4)
        boxes[self.seen_order(size)] = functional.cell_boxes(self.geometry.box, size)[0]
        return boxes


@dataclass(frozen=True)
class CellMatch:
    """What one matcher says of one query cell.

    Attributes:
        name: Of the matcher.
        weights: (Hk, Wk) float, weights of the key cells as seen.
        note: A number to print beside the name.
    """

    name: str
    weights: np.ndarray
    note: str


def load_config(path: str, options: dict | None = None) -> Config:
    """A pre-training config with its overrides; its scope is made the default.

    Raises:
        ValueError: there is no such file, or it has no backbone.
    """
    if '::' not in path and not Path(path).is_file():
        raise ValueError(f'config {path}: no such file; give a pre-training config')
    cfg = read_config(path)
    cfg.merge_from_dict(options or {})
    init_default_scope(cfg.get('default_scope', 'histomm'))
    if 'backbone' not in cfg.get('model', {}):
        raise ValueError(f'{path}: found no model.backbone, which makes the features; give a pre-training config')
    return cfg


def load_views(cfg: Config, image: str | Path, seed: int = 0, count: int = 2) -> tuple:
    """Draw the first views of an image, query and key view before others, through a pre-training config's pipeline.

    Args:
        cfg: Config whose ``train_dataloader.dataset`` has a pipeline that ends in ``PackViews``.
        image: Image file.
        seed: Seed of the draws; the views are those of sample 0 in epoch 0 of a run with this seed.
        count: How many views.

    Returns:
        The image (H, W, 3) uint8 RGB, and ``count`` views.

    Raises:
        UnreadableImageError: the image cannot be read.
        ValueError: the pipeline gives fewer views, or no geometry.
    """
    dataset = cfg.get('train_dataloader', {}).get('dataset', {})
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    if 'pipeline' not in dataset:
        raise ValueError(f'{cfg.filename}: found no train_dataloader.dataset.pipeline; give a pre-training config')
    source = read_image(str(image))
    packed = Compose(making_views(dataset['pipeline']))(dict(img_path=str(image), sample_idx=SampleIndex(0, seed, 0)))
    samples = packed['data_samples'] if isinstance(packed, dict) else None
    if not isinstance(packed.get('inputs'), list) or len(packed['inputs']) < count or 'crop_box' not in samples:
        raise ValueError(
            f'{cfg.filename}: its pipeline does not give {count} views with geometry; '
            f'it needs histomm.MultiView with at least {count} views and histomm.PackViews'
        )
    views = []
    for number, planes in enumerate(packed['inputs'][:count]):
        geometry = ViewGeometry(
            torch.tensor([samples.crop_box[number]], dtype=torch.float32),
            torch.tensor([samples.hflip[number]], dtype=torch.bool),
            torch.tensor([samples.vflip[number]], dtype=torch.bool),
            torch.tensor([samples.rot90[number]]),
        )
        views.append(View(planes.permute(1, 2, 0).numpy(), geometry))
    return source, *views


@torch.no_grad()
def view_features(cfg: Config, backbone: nn.Module, *views: View) -> list[Tensor]:
    """Last maps of a backbone for each view, (1, C, H, W), as seen, with the config's normalisation."""
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    backbone.eval()
    return [backbone(preprocessor(dict(inputs=view.planes()))['inputs'])[-1] for view in views]


def best_cell(query: View, key: View, size: tuple[int, int]) -> tuple[int, int]:
    """Row and column, as seen, of the query cell most of which the key view holds; of several the most central."""
    weights = _overlap(query, key, size, size).sum(1)
    order = query.seen_order(size)
    height, width = size
    rows, columns = order // width - (height - 1) / 2, order % width - (width - 1) / 2
    chosen = order[(weights - 1e-3 * torch.hypot(rows.float(), columns.float())).argmax()]
    return int(chosen) // width, int(chosen) % width


def _overlap(query: View, key: View, size_q: tuple[int, int], size_k: tuple[int, int]) -> Tensor:
    """M / A(P_i): shares of each canonical query cell that lie in each canonical key cell, (n, m)."""
    boxes = query.geometry.box, key.geometry.box
    cells = functional.cell_boxes(boxes[0], size_q)[0]
    area = (cells[:, 2] - cells[:, 0]) * (cells[:, 3] - cells[:, 1])
    return functional.overlap_matrix(*boxes, size_q, size_k)[0] / area[:, None]


def match_cell(query: View, key: View, cell: tuple[int, int], maps: list[Tensor]) -> list[CellMatch]:
    """What precise location, nearest location and feature matching say of one query cell.

    Args:
        query: Query view.
        key: Key view.
        cell: (row, column) of a query cell as seen, from 0.
        maps: Features of both views, (1, C, Hq, Wq) and (1, C, Hk, Wk), as seen; they set the number of cells too.

    Returns:
        Three matches: *precise location*, whose weights are M_ij / A(P_i), the shares of the query cell that lie in
        each key cell (eq. 9 sums them); *nearest location* and *feature*, weight 1 at the one cell chosen.

    Raises:
        ValueError: there is no such cell.
    """
    size_q, size_k = (tuple(feature.shape[-2:]) for feature in maps)
    row, column = cell
    if not (0 <= row < size_q[0] and 0 <= column < size_q[1]):
        raise ValueError(f'cell is {row} {column}, expected a row below {size_q[0]} and a column below {size_q[1]}')
    asked = int((query.seen_order(size_q) == row * size_q[1] + column).nonzero())
    shares = _overlap(query, key, size_q, size_k)[asked]
    nearest, distance = functional.nearest_match(query.geometry.box, key.geometry.box, size_q, size_k)
    turned = [
        functional.canonicalize(feature, view.geometry.hflip, view.geometry.vflip, view.geometry.rot90).flatten(2)
        for feature, view in zip(maps, (query, key), strict=True)
    ]
    alike = functional.feature_match(*turned)[0, asked]
    cosine = torch.cosine_similarity(turned[0][0, :, asked], turned[1][0, :, alike], dim=0)
    found = (
        ('Precise location', shares, f'{100 * shares.sum():.0f} % of the cell covered'),
        ('Nearest location', _one(nearest[0, asked], shares), f'centres {distance[0, asked]:.1f} px apart'),
        ('Feature', _one(alike, shares), f'cosine {cosine:.2f}'),
    )
    return [CellMatch(name, key.as_seen(weights.view(size_k)).numpy(), note) for name, weights, note in found]


def _one(index: Tensor, like: Tensor) -> Tensor:
    weights = torch.zeros_like(like)
    weights[index] = 1
    return weights
