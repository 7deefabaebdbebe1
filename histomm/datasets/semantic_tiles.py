"""Large pictures with a class for each pixel to tiles of one size, as mmseg reads them."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from .conversion import DRAWS, FRACTIONS, claim, convert_each, write_png
from .label_maps import ConversionError

IGNORED = 255
"""Code of pixels beyond the picture; mmseg leaves them out of losses and scores."""
SPLITS = ('train', 'val', 'test')


class Tile(NamedTuple):
    """A tile of a picture."""

    x: int
    """Left edge in pixels of the picture."""
    y: int
    """Upper edge."""
    image: np.ndarray
    """(S, S, 3) uint8, RGB; white beyond the picture."""
    mask: np.ndarray
    """(S, S) uint8, class of each pixel; :data:`IGNORED` beyond the picture."""


class Source(NamedTuple):
    """A picture to be cut."""

    name: str
    """Names its tiles; no two have the same."""
    files: Sequence[Path]
    """What it is read from."""
    group: str
    """Patient or slide."""
    tiles: Callable[[], Iterable[Tile | None]]
    """Reads it and gives its tiles; None in place of one that is left out."""


def starts(length: int, side: int, stride: int) -> range:
    """Where tiles of ``side`` begin along ``length`` pixels; every pixel is in one, and the last may reach beyond."""
    return range(0, max(length - side, 0) + stride, stride)


def fill_up(image: np.ndarray, mask: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (h, w, 3) and mask (h, w) to ``side`` × ``side``: white, and :data:`IGNORED`, below and to the right."""
    below, right = side - mask.shape[0], side - mask.shape[1]
    if not below and not right:
        return image, mask
    image = np.pad(image, ((0, below), (0, right), (0, 0)), constant_values=255)
    return image, np.pad(mask, ((0, below), (0, right)), constant_values=IGNORED)


def cut_picture(image: np.ndarray, mask: np.ndarray, side: int, stride: int) -> Iterator[Tile]:
    """Tiles of a picture, row by row.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) uint8, classes.
        side: Of a tile in pixels.
        stride: From a tile to the next, at most ``side``; tiles overlap where it is less.
    """
    for y in starts(mask.shape[0], side, stride):
        for x in starts(mask.shape[1], side, stride):
            yield Tile(x, y, *fill_up(image[y : y + side, x : x + side], mask[y : y + side, x : x + side], side))


def split_names(names: Iterable[str], shares: Sequence[float], seed: int) -> dict[str, str]:
    """Name to ``train``, ``val`` or ``test``: of n names val and test have their rounded shares, but one or more each.

    Args:
        names: Patients, slides or pictures; the same name counts once.
        shares: Of train, val and test, in any unit; (5, 3, 2) makes 5, 3 and 2 of 10 names.
        seed: Of the draw, which depends on nothing but the sorted names.

    Raises:
        ConversionError: fewer than three names.
    """
    names = sorted(set(names))
    if len(names) < len(SPLITS):
        raise ConversionError(
            f'{len(names)} patients, slides or pictures cannot be split, expected {len(SPLITS)} or more for '
            f'{", ".join(SPLITS)}'
        )
    drawn = np.random.default_rng(seed).permutation(names).tolist()
    counts = [max(1, round(share / sum(shares) * len(names))) for share in shares[1:]]
    while len(names) - sum(counts) < 1:
        counts[int(np.argmax(counts))] -= 1
    parts = ['val'] * counts[0] + ['test'] * counts[1]
    return dict(zip(drawn, parts + ['train'] * (len(names) - len(parts)), strict=True))


def write_tiles(
    sources: Sequence[Source], splits: Mapping[str, str], classes: Sequence[str], out: Path, recipe: Mapping
) -> None:
    """Write all tiles into ``out``, whole or not at all; a stopped run goes on after the last finished picture.

    ``<split>/{img,mask}/<name>_x<x>_y<y>.png``, ``train_<percent>_<draw>.txt`` (names of the tiles in draws of a share
    of the training part), ``summary.csv`` (a row a picture: group, split, tiles and pixels of each class) and
    ``conversion.json``.

    Args:
        sources: Pictures.
        splits: Split of each group.
        classes: Names of the classes 0, 1, ….
        out: New or empty folder, or one that this function made of the same files and options.
        recipe: Options that the tiles depend on; ``dataset`` names the converter, ``seed`` is that of the draws.

    Raises:
        ConversionError: two pictures of one name, one that cannot be read, no tile at all, or another content of
            ``out``.
    """
    by_name = {source.name: source for source in sources}
    if len(by_name) < len(sources):
        other = next(source for source in sources if by_name[source.name] is not source)
        raise ConversionError(f'{other.files[0]} and {by_name[other.name].files[0]} have the same name; keep one')
    sizes = {source.name: [path.stat().st_size for path in source.files] for source in sources}
    partial = claim(out, dict(version=1, **recipe, splits=dict(sorted(splits.items())), bytes=sizes))
    if partial is None:
        print(f'{out} holds these tiles already')
        return
    rows = convert_each(
        partial, list(by_name), lambda name: _write(by_name[name], splits[by_name[name].group], classes, partial)
    )
    if not any(row['tiles'] for row in rows):
        raise ConversionError(f'none of {len(rows)} pictures gave a tile, expected one or more; check the data')
    _check_files(partial, rows)
    _write_draws(partial, recipe['seed'])
    _write_summary(partial / 'summary.csv', rows, classes)
    partial.replace(out)
    for split in SPLITS:
        own = [row for row in rows if row['split'] == split]
        total = np.sum([row['pixels'] for row in own], axis=0)
        shares = ', '.join(
            f'{name} {share:.1%}' for name, share in zip(classes, total / max(total.sum(), 1), strict=True)
        )
        print(
            f'{split}: {len({row["group"] for row in own})} groups, {len(own)} pictures, '
            f'{sum(row["tiles"] for row in own)} tiles, {sum(row["left_out"] for row in own)} left out; {shares}'
        )
        absent = [name for name, pixels in zip(classes, total, strict=True) if not pixels]
        if absent:
            print(f'note: {split} has no pixel of {", ".join(absent)}; draw with another --seed')


def _write(source: Source, split: str, classes: Sequence[str], out: Path) -> dict:
    pixels, counts = np.zeros(IGNORED + 1, int), dict(tiles=0, left_out=0)
    for tile in source.tiles():
        if tile is None:
            counts['left_out'] += 1
            continue
        counts['tiles'] += 1
        pixels += np.bincount(tile.mask.ravel(), minlength=len(pixels))
        name = f'{source.name}_x{tile.x}_y{tile.y}.png'
        write_png(out / split / 'img' / name, cv2.cvtColor(tile.image, cv2.COLOR_RGB2BGR))
        write_png(out / split / 'mask' / name, tile.mask)
    return dict(name=source.name, group=source.group, split=split, **counts, pixels=pixels[: len(classes)].tolist())


def _check_files(out: Path, rows: Sequence[Mapping]) -> None:
    for split in SPLITS:
        expected = sum(row['tiles'] for row in rows if row['split'] == split)
        for kind in ('img', 'mask'):
            found = sum(1 for _ in (out / split / kind).glob('*.png'))
            if found != expected:
                raise ConversionError(f'{out / split / kind} holds {found} tiles, expected {expected}; remove {out}')


def _write_draws(out: Path, seed: int) -> None:
    """Write the draws of the training tiles; within one a smaller share lies in a larger one, and none is empty."""
    names = sorted(path.stem for path in (out / 'train' / 'img').glob('*.png'))
    for draw in range(DRAWS):
        drawn = np.random.default_rng(seed + draw).permutation(names).tolist()
        for percent in FRACTIONS:
            chosen = sorted(drawn[: max(1, round(percent / 100 * len(names)))])
            (out / f'train_{percent}_{draw}.txt').write_text(''.join(f'{name}\n' for name in chosen))


def _write_summary(path: Path, rows: Sequence[Mapping], classes: Sequence[str]) -> None:
    with open(path, 'w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['name', 'group', 'split', 'tiles', 'left_out', *classes])
        for row in rows:
            table.writerow([row['name'], row['group'], row['split'], row['tiles'], row['left_out'], *row['pixels']])
