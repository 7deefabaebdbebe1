"""Images and slides that nuclei are looked for in: where there is tissue, at any resolution."""

import numpy as np
import pytest

from histomm.evaluation.nuclei_sources import open_source
from histomm.evaluation.tiled_confidence import Box

SIDE = 512


@pytest.fixture
def slide(tmp_path):
    """White but for pink tissue in the right lower quarter; 0.5 µm a pixel, two levels."""
    tifffile = pytest.importorskip('tifffile')
    pixels = np.full((SIDE, SIDE, 3), 245, np.uint8)
    noise = np.random.default_rng(0).integers(-20, 20, (SIDE // 2, SIDE // 2, 3))
    pixels[SIDE // 2 :, SIDE // 2 :] = np.array([200, 100, 160]) + noise
    with tifffile.TiffWriter(tmp_path / 'slide.tif') as file:
        options = dict(photometric='rgb', tile=(128, 128))
        file.write(pixels, subifds=1, resolution=(20000, 20000), resolutionunit='CENTIMETER', **options)
        file.write(pixels[::2, ::2].copy(), subfiletype=1, **options)
    return tmp_path / 'slide.tif'


@pytest.mark.parametrize('mpp', [None, 0.5, 1.0, 2.0])
def test_tissue_is_where_it_is_at_every_resolution(slide, mpp):
    source = open_source(slide, mpp)
    side = round(SIDE * 0.5 / (mpp or 0.5))
    assert source.size == (side, side)
    quarter = side // 4
    found = [[source.has_tissue(Box(x * quarter, y * quarter, quarter, quarter)) for x in range(4)] for y in range(4)]
    rim = 1  # tissue is grown a little, so quarters beside it may count
    assert all(found[y][x] for y in (2, 3) for x in (2, 3))
    assert not any(found[y][x] for y in range(4) for x in range(4) if min(x, y) < 2 - rim)


def test_a_region_is_taken_whole(slide):
    source = open_source(slide, region=(10, 20, 100, 90))
    assert source.size == (100, 90)
    assert source.has_tissue(Box(0, 0, 10, 10))
    np.testing.assert_array_equal(source.read(0, 0, 100, 90), 245)
