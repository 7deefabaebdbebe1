"""How the colours of a data set vary from image to image: estimated over a folder, kept as YAML.

For each colour space: mean and standard deviation, over images, of each channel's mean and of each channel's standard
deviation (Shen et al., RandStainNA, MICCAI 2022).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from histomm.atomic_file import write_atomic
from histomm.datasets.transforms.loading import read_image
from histomm.datasets.transforms.stain_spaces import SPACES, channel_statistics, stained_share, to_space


class SpaceStatistics(NamedTuple):
    """Statistics of images in one colour space; each entry is (3,), one number a channel."""

    mean_of_means: np.ndarray
    """Mean over images of the channels' means."""
    std_of_means: np.ndarray
    """Standard deviation over images of the channels' means."""
    mean_of_stds: np.ndarray
    """Mean over images of the channels' standard deviations."""
    std_of_stds: np.ndarray
    """Standard deviation over images of the channels' standard deviations."""


def estimate_statistics(
    paths: Sequence[str], spaces: Sequence[str] = ('lab',), min_stained: float = 0.01
) -> tuple[dict[str, SpaceStatistics], list[str]]:
    """Statistics of image files in colour spaces.

    Args:
        paths: Image files.
        spaces: Some of :data:`~histomm.datasets.transforms.stain_spaces.SPACES`.
        min_stained: Images with a smaller share of stained pixels do not count.

    Returns:
        Statistics by space, and the paths of the images that did not count.

    Raises:
        ValueError: an unknown space, or fewer than two images that count.
        UnreadableImageError: a file cannot be read.
    """
    unknown = [space for space in spaces if space not in SPACES]
    if unknown or not spaces:
        raise ValueError(f'stain statistics: spaces are {list(spaces)}, expected some of {", ".join(SPACES)}')
    rows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {space: [] for space in spaces}
    pale = []
    for path in paths:
        image = read_image(path)
        if stained_share(image) < min_stained:
            pale.append(path)
            continue
        for space in spaces:
            rows[space].append(channel_statistics(to_space(image, space)))
    used = len(paths) - len(pale)
    if used < 2:
        raise ValueError(
            f'stain statistics: {used} of {len(paths)} images show stained tissue, expected at least 2; '
            'give more images or a smaller min_stained'
        )
    return {space: _summarise(pairs) for space, pairs in rows.items()}, pale


def _summarise(pairs: list[tuple[np.ndarray, np.ndarray]]) -> SpaceStatistics:
    means, stds = (np.stack(values) for values in zip(*pairs, strict=True))
    return SpaceStatistics(means.mean(0), means.std(0), stds.mean(0), stds.std(0))


def write_statistics(path: str | Path, statistics: dict[str, SpaceStatistics], num_images: int) -> None:
    """Write statistics as YAML, whole or not at all."""
    content = {
        'num_images': num_images,
        'spaces': {
            space: {name: np.round(value, 6).tolist() for name, value in found._asdict().items()}
            for space, found in statistics.items()
        },
    }
    write_atomic(yaml.safe_dump(content, sort_keys=False).encode(), path)


def read_statistics(path: str | Path) -> dict[str, SpaceStatistics]:
    """Statistics by colour space of a file of :func:`write_statistics`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds something else.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'stain statistics {path} do not exist; write them with tools/analysis/stain_statistics.py'
        )
    content = yaml.safe_load(Path(path).read_text())
    spaces = content.get('spaces') if isinstance(content, dict) else None
    if not isinstance(spaces, dict) or not spaces:
        raise ValueError(f'{path}: found no colour spaces, expected a file of tools/analysis/stain_statistics.py')
    return {space: _parse(path, space, entries) for space, entries in spaces.items()}


def _parse(path: str | Path, space: str, entries: dict) -> SpaceStatistics:
    fields = SpaceStatistics._fields
    fine = isinstance(entries, dict) and set(entries) == set(fields)
    if space not in SPACES or not fine or any(np.shape(entries[name]) != (3,) for name in fields):
        raise ValueError(
            f'{path}: space {space!r} has {entries}, expected one of {", ".join(SPACES)} with three numbers for each '
            f'of {", ".join(fields)}'
        )
    return SpaceStatistics(*(np.asarray(entries[name], float) for name in fields))
