"""What became of each slide of a folder of tiles, and the tables that gather them."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from histomm.atomic_file import write_atomic
from histomm.wsi.locks import file_lock
from histomm.wsi.tile_settings import TileSettings
from histomm.wsi.tile_table import concat_tiles, read_tiles, write_tiles

RECORDS, TABLE, FAILURES = 'slides', 'tiles.parquet', 'failures.csv'
"""Names in a folder of tiles."""


@dataclass(frozen=True)
class SlideJob:
    """A slide to tile.

    Attributes:
        name: Its name in tables and folders: the path below the slide folder, with forward slashes.
        path: The file.
        mpp: µm per level-0 px where the file does not say, or ``None``.
    """

    name: str
    path: Path
    mpp: float | None = None

    def source(self) -> dict[str, Any]:
        """What the tiles depend on beside the settings."""
        return {'bytes': self.path.stat().st_size if self.path.is_file() else None, 'mpp': self.mpp}


@dataclass(frozen=True)
class SlideReport:
    """What became of a slide.

    Attributes:
        slide: Its name.
        status: 'done'; 'failed', for ``reason``; or 'busy', as another run works on it.
        grid: Tiles of the grid.
        foreground: Tiles with enough tissue.
        tiles: Tiles taken.
        dropped: Tiles dropped by each filter that dropped some, and 'unreadable' ones.
        tissue: Share of the slide that is tissue.
        reason: Why it failed.
        stop: The fault will meet every other slide too, such as a full disk.
    """

    slide: str
    status: str
    grid: int = 0
    foreground: int = 0
    tiles: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    tissue: float = 0.0
    reason: str = ''
    stop: bool = False


def record_path(out: Path, slide: str) -> Path:
    """File that says what became of a slide."""
    return out / RECORDS / f'{slide}.json'


def slide_table_path(out: Path, slide: str) -> Path:
    """File of the tiles of one slide."""
    return out / RECORDS / f'{slide}.parquet'


def write_record(out: Path, report: SlideReport, source: dict[str, Any]) -> None:
    """Write what became of a slide made of ``source``."""
    content = {name: value for name, value in asdict(report).items() if name != 'stop'}
    write_atomic(json.dumps({**content, 'source': source}, indent=1).encode(), record_path(out, report.slide))


def read_record(path: Path) -> tuple[SlideReport, dict[str, Any]] | None:
    """What :func:`write_record` wrote; ``None`` where there is nothing.

    Raises:
        ValueError: the file is none of it.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        source = content.pop('source')
        return SlideReport(**content), source
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'{path} is no record of a slide ({error}); remove it to tile the slide anew') from error


def read_records(out: Path) -> Iterator[SlideReport]:
    """All slides of a folder of tiles, sorted by name."""
    paths = [path for path in (out / RECORDS).rglob('*.json') if not path.name.startswith('.')]
    found = [record for record in map(read_record, paths) if record is not None]
    yield from sorted((report for report, _ in found), key=lambda report: report.slide)


def gather(out: Path, settings: TileSettings, reports: Iterable[SlideReport]) -> None:
    """Write the table of the tiles of all slides of the folder that are done, and the list of those that failed.

    Args:
        out: Folder of tiles.
        settings: Its settings.
        reports: Of this run; they count before what the folder says of the same slides.

    Raises:
        LockedError: another run has been writing the table for ten minutes.
    """
    with file_lock(out / '.locks' / TABLE, patience=600):  # whoever ends last has all slides in view
        _gather(out, settings, reports)


def _gather(out: Path, settings: TileSettings, reports: Iterable[SlideReport]) -> None:
    known = {report.slide: report for report in read_records(out)}
    tables = [read_tiles(slide_table_path(out, name)) for name, report in known.items() if report.status == 'done']
    write_tiles(out / TABLE, concat_tiles(tables, settings.as_json()))
    known.update((report.slide, report) for report in reports)
    failed = [(name, report.reason) for name, report in sorted(known.items()) if report.status == 'failed']
    if failed:
        text = io.StringIO()
        csv.writer(text, lineterminator='\n').writerows([('slide', 'reason'), *failed])
        write_atomic(text.getvalue().encode(), out / FAILURES)
    else:
        (out / FAILURES).unlink(missing_ok=True)
