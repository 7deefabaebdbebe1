"""Tiles per second from a slide to a folder of JPEG files: tools/wsi/tile_slides.py beside a plain loop over OpenSlide.

One process on one thread, in turns, so that the ratios do not depend on what else the machine does:

    python tools/benchmarks/tiling.py [SLIDE] [--repeats 7]

Without SLIDE one is drawn. The loop reads the tiles of the tool's table one by one, resizes them with Pillow if their
resolution is not that of a level, and saves them with the same quality of JPEG. The tool is charged with all it does:
finding tissue, the plan, the table and, in the rows that say so, filters of quality and the picture of the slide.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import openslide
import torch
from _timing import Spread, add_options, in_turns, make_clock, provenance, publish, ratios, spread, table
from PIL import Image
from slides import draw_slide

from histomm.visualization.slide_tiles import draw_slide_tiles
from histomm.wsi.pipeline import Tiler
from histomm.wsi.quality import LIMITS
from histomm.wsi.tile_records import SlideJob, slide_table_path
from histomm.wsi.tile_settings import TileSettings, claim_folder
from histomm.wsi.tile_table import TileTable, read_tiles

SIZE, QUALITY = 224, 90


class Folders:
    """A new folder for each run."""

    def __init__(self, root: Path) -> None:
        self.root, self.count = root, 0

    def __call__(self) -> Path:
        """The next one; it does not exist yet."""
        self.count += 1
        return self.root / str(self.count)


def tool(job: SlideJob, folders: Folders, mpp: float, rich: bool) -> Callable[[], Path]:
    """The tool on one slide; ``rich`` for filters, which drop nothing here, and the picture."""
    filters = {name: 0.0 if name == 'blur' else 1.0 for name in LIMITS} if rich else {}
    settings = TileSettings(size=SIZE, mpp=mpp, store='jpg', jpeg_quality=QUALITY, filters=filters)

    def run() -> Path:
        out = folders()
        claim_folder(out, settings)
        report = Tiler(out, settings, draw_slide_tiles if rich else None)(job)
        if report.status != 'done':
            raise SystemExit(f'tiling: {report.reason}')
        return out

    return run


def plain_loop(path: Path, tiles: TileTable, own: float, folders: Folders) -> Callable[[], None]:
    """The same tiles, one by one."""
    places, scale = list(zip(tiles.x.tolist(), tiles.y.tolist(), strict=True)), float(tiles.mpp[0]) / own

    def run() -> None:
        out = folders()
        out.mkdir()
        with openslide.OpenSlide(path) as slide:
            level = slide.get_best_level_for_downsample(scale * 1.005)
            side = round(SIZE * scale / slide.level_downsamples[level])
            for x, y in places:
                tile = slide.read_region((x, y), level, (side, side)).convert('RGB')
                if side != SIZE:
                    tile = tile.resize((SIZE, SIZE), Image.Resampling.BOX)
                tile.save(out / f'{x}_{y}.jpg', quality=QUALITY)

    return run


def measure(job: SlideJob, folders: Folders, mpp: float, repeats: int, results: dict[str, Spread]) -> list[list[str]]:
    """Rows of the table for tiles of one resolution; figures go into ``results``."""
    bare = tool(job, folders, mpp, rich=False)
    tiles = read_tiles(slide_table_path(bare(), job.name))
    if not len(tiles):
        raise SystemExit(f'tiling: {job.path} has no tile of {mpp} um per px; choose another slide')
    with openslide.OpenSlide(job.path) as slide:
        own = float(slide.properties[openslide.PROPERTY_NAME_MPP_X])
    runs = {
        'plain loop': plain_loop(job.path, tiles, own, folders),
        'tile_slides': bare,
        'tile_slides, filters and picture': tool(job, folders, mpp, rich=True),
    }
    times = in_turns(runs, repeats, make_clock('cpu', torch.device('cpu')))
    rows = []
    for name, taken in times.items():
        rate, ratio = spread([len(tiles) / seconds for seconds in taken]), ratios(times['plain loop'], taken)
        rows.append([f'{name}, {mpp} µm/px', rate.text(0), ratio.text(2)])
        results |= {f'{name} at {mpp} µm/px, tiles/s': rate, f'{name} at {mpp} µm/px, ratio': ratio}
    return rows


def main(argv: list[str] | None = None) -> None:
    """Measure in turns and print tiles per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('slide', nargs='?', type=Path, help='slide that OpenSlide reads; drawn if left out')
    parser.add_argument('--side', type=int, default=8192, help='of the drawn slide (default: %(default)s)')
    parser.add_argument(
        '--mpp', type=float, nargs='+', default=[0.5, 0.8], help='of the tiles in µm per px (default: 0.5 0.8)'
    )
    add_options(parser, repeats=7)
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folders = Folders(Path(name) / 'out')
        folders.root.mkdir()
        path = args.slide or draw_slide(Path(name) / 'drawn.tif', args.side)
        job = SlideJob(path.name, path.absolute())
        results: dict[str, Spread] = {}
        rows = [row for mpp in args.mpp for row in measure(job, folders, mpp, args.repeats, results)]
    text = table(['tiles to JPEG files', 'tiles/s', 'ratio'], rows)
    publish(f'{text}\n\n{provenance(args.repeats, "cpu", torch.device("cpu"))}', args, results)


if __name__ == '__main__':
    main()
