"""Find tissue on whole slides and cut it into tiles.

python tools/wsi/tile_slides.py data/slides --out data/tiles                              table of coordinates alone
python tools/wsi/tile_slides.py data/slides --out data/tiles --store jpg --filter blur pen fat --workers 8

All slides below the folder are tiled; each tile is --size px at --tile-mpp µm per px and lies on enough tissue. The
folder holds tiles.parquet, masks/, pictures/ (look at some), tiles/ with --store, and failures.csv if a slide failed.
The same command goes on where a run was interrupted; several may run on one folder at the same time. The result does
not depend on the number of workers.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from tqdm import tqdm

from histomm.visualization.slide_tiles import draw_slide_tiles
from histomm.wsi.pipeline import Tiler
from histomm.wsi.quality import LIMITS
from histomm.wsi.reader import find_slides, mpp_of, read_mpp_table
from histomm.wsi.stores import KINDS
from histomm.wsi.tile_records import FAILURES, TABLE, SlideJob, SlideReport, gather
from histomm.wsi.tile_settings import TISSUE, TileSettings, claim_folder
from histomm.wsi.workers import START_METHODS, in_processes, in_this_process, on_ray

_SHOWN = 20  # names in a line


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('slides', type=Path, help='folder of slides, read through all levels, or one slide')
    parser.add_argument('--out', type=Path, required=True, help='folder of the tiles: new, or one to go on with')
    _add_plan(parser.add_argument_group('plan'))
    _add_tissue(parser.add_argument_group('tissue'))
    _add_store(parser.add_argument_group('what is kept'))
    slides = parser.add_argument_group('slides')
    given = slides.add_mutually_exclusive_group()
    given.add_argument('--mpp', type=float, help='µm per px of the slides, where a file does not say')
    given.add_argument('--mpp-table', type=Path, metavar='CSV', help='the same for each slide: columns slide,mpp')
    slides.add_argument('--exclude-patients', type=Path, metavar='LIST', help='leave out these participants of TCGA')
    run = parser.add_argument_group('run')
    run.add_argument('--workers', type=int, default=1, help='processes on this machine (default 1)')
    run.add_argument('--start-method', choices=START_METHODS, default='spawn', help='of the processes (default spawn)')
    run.add_argument('--ray', nargs='?', const='', metavar='ADDRESS', help='use a Ray cluster, by default the one here')
    return parser.parse_args(argv)


def _add_plan(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--size', type=int, default=224, help='side of a tile in px (default 224)')
    group.add_argument('--tile-mpp', type=float, default=0.5, help='µm per px of the tiles (default 0.5)')
    group.add_argument('--overlap', type=int, default=0, help='px that neighbours share (default 0)')
    group.add_argument(
        '--native', type=float, metavar='SHARE', help='not to resample: take that of --tile-mpp up to SHARE'
    )
    group.add_argument('--upsample', action='store_true', help='interpolate tiles of slides that are coarser')
    group.add_argument('--partial', action='store_true', help='tiles that end beyond the border too, white there')
    group.add_argument('--max-tiles', type=int, help='most tiles of a slide, drawn at random')
    group.add_argument('--seed', type=int, default=0, help='of that draw (default 0)')


def _add_tissue(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--tissue', choices=[*TISSUE, 'none'], default='otsu', help='how it is found (default otsu); none: take all'
    )
    group.add_argument('--hue-unit', choices=('cv2_255', 'unit'), help='of the box of --tissue hsv')
    group.add_argument('--invert', action='store_true', help='the box of --tissue hsv is the background')
    group.add_argument('--tissue-mpp', type=float, default=8.0, help='µm per px of the mask (default 8)')
    group.add_argument('--min-piece', type=float, default=2e4, help='drop smaller pieces, µm² (default 20000)')
    group.add_argument('--min-hole', type=float, default=2e4, help='fill smaller holes, µm² (default 20000)')
    group.add_argument('--min-foreground', type=float, default=0.5, help='least share of tissue (default 0.5)')
    group.add_argument('--four-points', action='store_true', help="instead: tissue at one of four points, CLAM's rule")


def _add_store(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--store', choices=('table', *KINDS), default='table', help='what to write (default table)')
    group.add_argument('--jpeg-quality', type=int, default=90, help='1 to 100 (default 90)')
    group.add_argument('--shard-size', type=int, default=10_000, help='most tiles in a shard (default 10000)')
    limits = ', '.join(f'{name}={limit:g}' for name, limit in LIMITS.items())
    group.add_argument('--filter', nargs='+', default=[], metavar='NAME[=LIMIT]', help=f'drop tiles: {limits}')
    group.add_argument('--skip-broken', action='store_true', help='leave out and count tiles that cannot be read')
    group.add_argument('--no-pictures', action='store_true', help='do not draw tissue and tiles over each slide')


def read_settings(args: argparse.Namespace, excluded: list[str]) -> TileSettings:
    """The settings of the command line."""
    same = {item.name for item in fields(TileSettings)} & set(vars(args))
    values = {**{name: getattr(args, name) for name in same}, 'mpp': args.tile_mpp}
    options: dict = {}
    if args.hue_unit:
        options['hue_unit'] = args.hue_unit
    if args.invert:
        options['invert'] = True
    if options and args.tissue != 'hsv':
        raise ValueError(f'--hue-unit and --invert belong to --tissue hsv, found --tissue {args.tissue}')
    return TileSettings(**values, filters=read_filters(args.filter), tissue_options=options, excluded=tuple(excluded))


def read_filters(words: list[str]) -> dict[str, float]:
    """Limits of the filters from ``name`` or ``name=limit``."""
    limits = {}
    for word in words:
        name, _, limit = word.partition('=')
        try:
            limits[name] = float(limit) if limit else LIMITS[name]
        except (KeyError, ValueError):
            raise ValueError(f'--filter {word}: expected one of {", ".join(LIMITS)}, alone or as name=number') from None
    return limits


def find_jobs(args: argparse.Namespace) -> tuple[list[SlideJob], list[str]]:
    """Slides to tile, the largest files first, so that no worker begins one at the end; and who was left out."""
    root = args.slides if args.slides.is_dir() else args.slides.parent
    table = read_mpp_table(args.mpp_table) if args.mpp_table else {}
    jobs = []
    for path in find_slides(args.slides):
        name = path.relative_to(root).as_posix()
        jobs.append(SlideJob(name, path.absolute(), mpp_of(table, name, args.mpp)))
    unknown = sorted(set(table) - {job.name for job in jobs} - {job.path.name for job in jobs})
    if unknown:
        print(f'note: {args.mpp_table} names {len(unknown)} slides that are not here, such as {unknown[0]}')
    excluded = []
    if args.exclude_patients:
        jobs, excluded = without_patients(jobs, args.exclude_patients)
    return sorted(jobs, key=lambda job: (-job.path.stat().st_size, job.name)), excluded


def without_patients(jobs: list[SlideJob], listed: Path) -> tuple[list[SlideJob], list[str]]:
    """Slides of nobody on the list, and the list."""
    from histomm.datasets.patients import read_participants, tcga_participant, warn_unnamed

    excluded = read_participants(listed)
    warn_unnamed([job.name for job in jobs if tcga_participant(job.name) is None], len(jobs), 'slides')
    kept = [job for job in jobs if tcga_participant(job.name) not in excluded]
    print(f'{len(jobs) - len(kept)} of {len(jobs)} slides are left out: their participants are in {listed}')
    if not kept:
        raise ValueError(f'all {len(jobs)} slides are of participants in {listed}; nothing is left to tile')
    return kept, sorted(excluded)


def outcomes(args: argparse.Namespace, tiler: Tiler, jobs: list[SlideJob]) -> Iterator[SlideReport]:
    """Reports as they come."""
    if args.ray is not None:
        results = on_ray(tiler, jobs, args.ray or None)
    elif args.workers > 1:
        results = in_processes(tiler, jobs, args.workers, args.start_method)
    else:
        results = in_this_process(tiler, jobs)
    for job, result in results:
        yield result if isinstance(result, SlideReport) else SlideReport(job.name, 'failed', reason=str(result))


def tile(args: argparse.Namespace) -> int:
    """Tile all slides; the exit status."""
    if args.workers < 1:
        raise ValueError(f'--workers is {args.workers}, expected at least 1')
    jobs, excluded = find_jobs(args)
    settings = read_settings(args, excluded)
    out = args.out.absolute()
    claim_folder(out, settings)
    tiler = Tiler(out, settings, None if args.no_pictures else draw_slide_tiles)
    reports: list[SlideReport] = []
    try:
        for report in _with_progress(outcomes(args, tiler, jobs), len(jobs)):
            reports.append(report)
            if report.stop:
                break
    finally:
        written = _gathered(out, settings, reports)
    return summarise(args.out, reports, len(jobs)) or int(not written)


def _with_progress(reports: Iterator[SlideReport], total: int) -> Iterator[SlideReport]:
    """The reports, with a bar; one line a minute where nobody watches."""
    tiles = 0
    with tqdm(total=total, unit='slide', mininterval=0.1 if sys.stderr.isatty() else 60) as bar:
        for report in reports:
            tiles += report.tiles
            bar.set_postfix(tiles=tiles, refresh=False)
            bar.update()
            if report.status != 'done':
                bar.write(f'{report.status}: {report.slide}: {report.reason}', file=sys.stderr)
            yield report


def _gathered(out: Path, settings: TileSettings, reports: list[SlideReport]) -> bool:
    """Write the tables of all slides; whether that was possible."""
    try:
        gather(out, settings, reports)
    except OSError as error:
        print(f'tile_slides: {out / TABLE} cannot be written ({error})', file=sys.stderr)
        return False
    return True


def summarise(out: Path, reports: list[SlideReport], total: int) -> int:
    """Say what became of the slides; the exit status."""
    counts = Counter(report.status for report in reports)
    dropped = sum((Counter(report.dropped) for report in reports), Counter())
    empty = sorted(report.slide for report in reports if report.status == 'done' and not report.foreground)
    parts = [f'{counts["done"]} done ({len(empty)} without tissue)', f'{counts["failed"]} failed']
    if counts['failed']:
        parts[-1] += f' (see {out / FAILURES})'
    if counts['busy']:
        parts.append(f'{counts["busy"]} under way in another run')
    if len(reports) < total:
        parts.append(f'{total - len(reports)} not begun')
    if empty:
        print(f'without tissue: {", ".join(empty[:_SHOWN])}{", …" if len(empty) > _SHOWN else ""}')
    if dropped:
        print('dropped: ' + ', '.join(f'{count} {name}' for name, count in sorted(dropped.items())))
    tiles = sum(report.tiles for report in reports)
    print(f'{total} slides: {", ".join(parts)}; {tiles} tiles, listed in {out / TABLE}')
    return int(counts['done'] < total)


def main(argv: list[str] | None = None) -> None:
    try:
        status = tile(parse_args(argv))
    except KeyboardInterrupt:
        sys.exit('tile_slides: interrupted; the same command goes on from here')
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        sys.exit(f'tile_slides: {error}')
    if status:
        sys.exit(status)


if __name__ == '__main__':
    main()
