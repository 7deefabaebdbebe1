"""Tiles at resolutions that slides have, and CLAM's rule of four points."""

import numpy as np
import pytest
from small_slides import draw_slide
from tile_runs import failures, run
from tool_modules import load_tool

from histomm.wsi.tile_table import read_tiles
from histomm.wsi.tiling import four_points, native_mpp
from histomm.wsi.tissue import TissueMask


@pytest.mark.parametrize(
    ('found', 'native'),
    [(0.4, 0.4), (0.5, 0.5), (0.6, 0.6), (0.2, 0.4), (0.2527, 0.5054), (0.3, 0.6), (0.11, 0.44)],
)
def test_native_resolutions(found, native):
    """0.4 to 0.6 as it is, 0.2 to 0.3 at half the resolution, an objective of 80 at a quarter."""
    assert native_mpp(found, 0.5, 0.2) == pytest.approx(native)


@pytest.mark.parametrize('found', [0.39, 0.61, 0.31, 0.19, 1.0, 0.16])
def test_resolutions_between(found):
    with pytest.raises(ValueError, match=r'neither these nor 2, 4, … times as large ones are 0.5 µm up to 20%'):
        native_mpp(found, 0.5, 0.2)


def test_four_points_against_a_naive_loop():
    rng = np.random.default_rng(0)
    mask = rng.random((13, 17)) > 0.8
    corners, span, scales = rng.integers(-30, 140, (200, 2)), (21.7, 19.2), (7.3, 7.0)
    expected = []
    for x, y in corners:
        points = [(x + a * span[0], y + b * span[1]) for a in (0.25, 0.75) for b in (0.25, 0.75)]
        cells = [(int(np.floor(py / scales[1])), int(np.floor(px / scales[0]))) for px, py in points]
        expected.append(any(0 <= row < 13 and 0 <= column < 17 and mask[row, column] for row, column in cells))
    assert 0.1 < np.mean(expected) < 0.9
    assert four_points(TissueMask(mask, *scales), corners, span).tolist() == expected


def test_slides_of_several_scanners(tmp_path):
    """40× is read at half its resolution, 20× as it is, another one is left out and named."""
    draw_slide(tmp_path / 'slides/a.tif', 0, mpp=0.26)
    draw_slide(tmp_path / 'slides/b.tif', 1, mpp=0.48)
    draw_slide(tmp_path / 'slides/c.tif', 2, mpp=0.35)
    tool, out = load_tool('tools/wsi/tile_slides.py'), tmp_path / 'tiles'
    options = ['--native', '0.2', '--no-pictures', '--four-points']
    assert run(tool, tmp_path / 'slides', out, *options) == 1
    tiles = read_tiles(out / 'tiles.parquet')
    assert {(str(name), round(mpp, 3)) for name, mpp in zip(tiles.slide, tiles.mpp, strict=True)} == {
        ('a.tif', 0.52),
        ('b.tif', 0.48),
    }
    assert set(np.unique(tiles.x[tiles.slide == 'a.tif'] % 128)) == {0}  # 64 px of 0.52 µm are 128 of 0.26
    assert set(np.unique(tiles.x[tiles.slide == 'b.tif'] % 64)) == {0}
    assert 'its pixels are 0.35 µm, and neither these' in failures(out)['c.tif']
    assert tiles.settings['mpp'] == 0.5
    assert run(tool, tmp_path / 'slides', out, '--no-pictures') == (
        f'tile_slides: {out} was made with other settings: four_points True there and False now, native 0.2 there and '
        'None now; repeat them or choose another folder'
    )
    assert 'native is 0.5, expected 0 to less than 0.5' in run(tool, tmp_path / 'slides', out, '--native', '0.5')
