"""Tiles per second from slides, beside plain OpenSlide and beside the same tiles as JPEG files.

One process on one thread, in turns, so that the ratios do not depend on what else the machine does:

    python tools/benchmarks/slides.py [SLIDE] [--repeats 7] [--tiles 512] [--reads 20000]

Without SLIDE one is drawn. Copies of it stand for the slides of a data set: a single small slide would fit into caches,
which those of a data set never do. The first table counts tiles as they are decoded: at random through OpenSlide, and
through histomm.SlideTileDataset at random and by neighbourhoods. The second counts images with the two views of SimCLR,
from files and from slides. Last come reads of random tiles, between which the process may not grow.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import openslide
import psutil
import torch
from _timing import Spread, add_options, exactly, in_turns, make_clock, provenance, publish, ratios, spread, table

from histomm.datasets import NeighbourhoodSampler, PatchDataset, SeededSampler, SlideTileDataset
from histomm.datasets.synthetic import SlidePainter, plan_slide
from histomm.datasets.synthetic.pyramid import write_pyramid
from histomm.wsi.reader import open_slide
from histomm.wsi.tile_table import concat_tiles, tiles_of_slide, write_tiles

SIDE = 256
SHIFT = 100  # of the grid of tiles: it seldom is that of the slide's own tiles
GROWTH = 64  # MB that the process may grow by while tiles are read
VIEW = [
    dict(type='histomm.RandomResizedCrop', size=224, scale=(0.2, 1.0)),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
    dict(type='histomm.ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
    dict(type='histomm.GaussianBlur', sigma=(0.1, 2.0), prob=0.5),
]
LOAD = dict(type='histomm.LoadPatch')
VIEWS = [LOAD, dict(type='histomm.MultiView', views=[dict(pipeline=VIEW, num=2)]), dict(type='histomm.PackViews')]


def draw_slide(path: Path, side: int) -> Path:
    """A slide of drawn tissue: one of at most 2048 pixels, mirrored until it is as large as asked for."""
    unit = min(side, 2048)
    painter = SlidePainter(plan_slide((unit, unit), 0, 0, 'tumor'), 0, 0, 0)
    image = painter(0, 0, unit, unit)

    def render(x: int, y: int, width: int, height: int) -> np.ndarray:
        rows, columns = (np.arange(start, start + count) % (2 * unit) for start, count in ((y, height), (x, width)))
        rows, columns = (np.where(place < unit, place, 2 * unit - 1 - place) for place in (rows, columns))
        return image[np.ix_(rows, columns)]

    write_pyramid(path, (side, side), render, 0.5, 'drawn')
    return path


def lay_out(folder: Path, source: Path, copies: int) -> list[Path]:
    """Copies of a slide, the table of their tiles at level 0, and the tiles of the first as JPEG files, once each."""
    slides = [folder / 'slides' / f'{number}{source.suffix}' for number in range(copies)]
    (folder / 'slides').mkdir()
    (folder / 'files').mkdir()
    for path in slides:
        shutil.copy(source, path)
    slide = open_slide(slides[0])
    width, height = slide.size
    places = [(x, y) for y in range(SHIFT, height - SIDE, SIDE) for x in range(SHIFT, width - SIDE, SIDE)]
    corners = np.array(places)
    tables = [tiles_of_slide(path.name, corners, SIDE, slide.mpp, np.ones(len(corners))) for path in slides]
    write_tiles(folder / 'tiles.parquet', concat_tiles(tables, {}))
    for x, y in places:
        tile = cv2.cvtColor(slide.read(x, y, SIDE, SIDE), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / 'files' / f'{x}_{y}.jpg'), tile, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return slides


def slide_tiles(folder: Path, pipeline: list[dict]) -> SlideTileDataset:
    """The tiles of the copies."""
    return SlideTileDataset(str(folder / 'slides'), str(folder / 'tiles.parquet'), pipeline=pipeline)


def plain_reads(dataset: SlideTileDataset, slides: list[Path], count: int) -> Callable[[], None]:
    """Tiles at random straight from OpenSlide, whose caches are set to the size that histomm has for all slides."""
    handles = [openslide.OpenSlide(str(path)) for path in slides]
    cache = openslide.OpenSlideCache(2**25)
    for handle in handles:
        handle.set_cache(cache)
    rng = np.random.default_rng(0)
    number, x, y = dataset.positions()

    def run() -> None:
        for row in rng.permutation(len(dataset))[:count].tolist():
            place = int(x[row]), int(y[row])
            np.asarray(handles[number[row]].read_region(place, 0, (SIDE, SIDE)).convert('RGB'))

    return run


def loads(dataset: PatchDataset, sampler: SeededSampler, count: int, batch: int) -> Callable[[], None]:
    """``count`` samples of another epoch in each turn, in batches, as a loader process takes them."""
    epochs = iter(range(10**9))
    together = getattr(dataset, '__getitems__', None)

    def run() -> None:
        sampler.set_epoch(next(epochs))
        order = list(sampler)
        order = (order * -(-count // len(order)))[:count]
        for start in range(0, count, batch):
            indices = order[start : start + batch]
            if together:
                together(indices)
            else:
                [dataset[index] for index in indices]

    return run


def rows(times: dict[str, list[float]], count: int) -> list[list[str]]:
    """Rate of each run, and its ratio to the first."""
    first = next(iter(times))
    return [
        [name, spread([count / seconds for seconds in taken]).text(0), ratios(times[first], taken).text(2)]
        for name, taken in times.items()
    ]


def figures(times: dict[str, list[float]], count: int, unit: str) -> dict[str, Spread]:
    """Rate of each run, and the ratio of all but the first to the first."""
    first, *others = times
    rates = {f'{name}, {unit}': spread([count / seconds for seconds in taken]) for name, taken in times.items()}
    return rates | {f'{name} to {first}, ratio': ratios(times[first], times[name]) for name in others}


def megabytes() -> float:
    """Memory of this process that is resident, in MB."""
    return psutil.Process().memory_info().rss / 2**20


def growth(dataset: SlideTileDataset, orders: Iterable[int], reads: int) -> tuple[float, float]:
    """MB of the process after a tenth of ``reads`` random tiles, and after all."""
    before = 0.0
    for done, index in zip(range(reads), orders, strict=False):
        if done == reads // 10:
            before = megabytes()
        dataset[index]
    return before, megabytes()


def main(argv: list[str] | None = None) -> None:
    """Measure in turns and print rates, ratios and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('slide', nargs='?', type=Path, help='slide that knows its pixel size; drawn if left out')
    parser.add_argument('--side', type=int, default=4096, help='of the drawn slide (default: %(default)s)')
    parser.add_argument('--copies', type=int, default=16, help='slides (default: %(default)s)')
    parser.add_argument('--tiles', type=int, default=512, help='tiles of a turn (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=256, help='tiles of a batch (default: %(default)s)')
    parser.add_argument('--neighbourhood', type=int, default=1024, help='in level-0 pixels (default: %(default)s)')
    parser.add_argument('--reads', type=int, default=20000, help='while memory is watched (default: %(default)s)')
    add_options(parser, repeats=7)
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    clock = make_clock('cpu', torch.device('cpu'))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slides = lay_out(folder, args.slide or draw_slide(folder / 'drawn.tif', args.side), args.copies)
        bare, viewed = slide_tiles(folder, [LOAD]), slide_tiles(folder, VIEWS)
        files = PatchDataset(str(folder / 'files'), pipeline=VIEWS)

        def near(dataset: SlideTileDataset) -> SeededSampler:
            return NeighbourhoodSampler(dataset, args.neighbourhood, seed=0)

        decoding = {
            'OpenSlide, at random': plain_reads(bare, slides, args.tiles),
            'SlideTileDataset, at random': loads(bare, SeededSampler(bare, seed=0), args.tiles, args.batch),
            'SlideTileDataset, by neighbourhoods': loads(bare, near(bare), args.tiles, args.batch),
        }
        training = {
            'JPEG files, at random': loads(files, SeededSampler(files, seed=0), args.tiles, args.batch),
            'slides, at random': loads(viewed, SeededSampler(viewed, seed=0), args.tiles, args.batch),
            'slides, by neighbourhoods': loads(viewed, near(viewed), args.tiles, args.batch),
        }
        text, results = [], {}
        for title, unit, runs in (
            ('tiles decoded', 'tiles/s', decoding),
            ('two views of SimCLR', 'images/s', training),
        ):
            times = in_turns(runs, args.repeats, clock)
            text.append(table([title, unit, 'ratio'], rows(times, args.tiles)))
            results |= figures(times, args.tiles, unit)
        order = SeededSampler(bare, seed=1, infinite=True)
        before, after = growth(slide_tiles_few_open(folder), order, args.reads)
    results['memory added by reads, MB'] = exactly(after - before)
    text.append(f'Memory: {before:.0f} MB after {args.reads // 10} reads, {after:.0f} MB after {args.reads}')
    publish('\n\n'.join([*text, provenance(args.repeats, 'cpu', torch.device('cpu'))]), args, results)
    if after - before > GROWTH:
        raise SystemExit(f'slides: the process grew by {after - before:.0f} MB, expected at most {GROWTH}')


def slide_tiles_few_open(folder: Path) -> SlideTileDataset:
    """The tiles of the copies, of which too few may be open: they are closed and opened all the time."""
    return SlideTileDataset(str(folder / 'slides'), str(folder / 'tiles.parquet'), pipeline=[LOAD], max_open=4)


if __name__ == '__main__':
    main()
