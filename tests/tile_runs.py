"""Runs of tools/wsi/tile_slides.py on small slides."""

import csv
from pathlib import Path
from types import ModuleType

from small_slides import draw_slide

PLAN = ['--size', '64', '--tissue-mpp', '4', '--min-piece', '100', '--min-hole', '100']


def draw_slides(root: Path) -> Path:
    """Three slides, one of them in a folder and without tissue."""
    draw_slide(root / 'a.tif', 0)
    draw_slide(root / 'b.tif', 1, width=500)
    draw_slide(root / 'deep' / 'c.tif', 2, tissue=False)
    return root


def run(tool: ModuleType, slides: Path, out: Path, *options: object) -> int | str:
    """Exit status of the tool, or what it said at its end."""
    try:
        tool.main([str(slides), '--out', str(out), *PLAN, *map(str, options)])
    except SystemExit as error:
        return error.code
    return 0


def files(folder: Path) -> dict[str, bytes]:
    """All files of a folder of tiles; there may be neither locks nor traces of failed writes."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}
    assert not [name for name in found if '.partial' in name or name.endswith('.lock')]
    return found


def failures(out: Path) -> dict[str, str]:
    """Slides that failed, with the reason."""
    with open(out / 'failures.csv', newline='') as file:
        return {row['slide']: row['reason'] for row in csv.DictReader(file)}
