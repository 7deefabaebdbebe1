"""The picture of a slide shows tiles and tissue where they are."""

from types import SimpleNamespace

import numpy as np

from histomm.visualization.colors import BLUE, GREEN, VERMILION, rgb
from histomm.visualization.slide_tiles import draw_slide_tiles
from histomm.wsi.tissue import TissueMask

GLASS = 240


def draw(corners, span, mask=None, zoom=2, dropped=()):
    thumbnail = np.full((100, 150, 3), GLASS, np.uint8)
    thumbnail.flags.writeable = False
    slide = SimpleNamespace(size=(150 * zoom, 100 * zoom), thumbnail=lambda max_side: thumbnail)
    mask = np.zeros((10, 15), bool) if mask is None else mask
    taken, lost = (np.array(places, int).reshape(-1, 2) for places in (corners, dropped))
    return draw_slide_tiles(slide, TissueMask(mask, 10 * zoom), taken, lost, span)


def test_tiles_are_tinted_and_framed():
    picture = draw([[20, 40], [60, 40]], (40, 40))  # 20 px each from (10, 20) and (30, 20)
    tint = np.round(np.array([GLASS] * 3) * 0.8 + np.array(rgb(BLUE)) * 0.2)
    inner = picture[21:39, 11:29]
    assert (inner == tint).all()
    frame = np.zeros((100, 150), bool)
    for x in (10, 30):
        frame[20:40, x : x + 20] = True
        frame[21:39, x + 1 : x + 19] = False
    assert (picture[frame] == rgb(BLUE)).all()
    outside = np.ones((100, 150), bool)
    outside[20:40, 10:50] = False
    assert (picture[outside] == GLASS).all()


def test_dropped_tiles_are_vermilion():
    picture = draw([[20, 40]], (40, 40), dropped=[[100, 40]])
    assert (picture[21:39, 51:69] == np.round(np.array([GLASS] * 3) * 0.8 + np.array(rgb(VERMILION)) * 0.2)).all()
    assert (picture[20, 50:70] == rgb(VERMILION)).all()
    assert (picture[20, 10:30] == rgb(BLUE)).all()


def test_small_tiles_have_no_frames():
    picture = draw([[20, 40]], (8, 8))
    assert (picture == rgb(BLUE)).all(-1).sum() == 0
    assert (picture != GLASS).any(-1).sum() == 16


def test_tiles_may_end_beyond_the_border():
    picture = draw([[280, 180]], (40, 40))
    assert (picture != GLASS).any(-1).sum() == 100


def test_tissue_is_edged():
    mask = np.zeros((10, 15), bool)
    mask[3:6, 4:9] = True
    picture = draw([], (40, 40), mask)
    edged = (np.abs(picture.astype(int) - rgb(GREEN)).sum(-1) < 30).nonzero()
    assert 29 <= edged[0].min() <= 30
    assert 59 <= edged[0].max() <= 60
    assert 39 <= edged[1].min() <= 40
    assert 89 <= edged[1].max() <= 90
    assert (picture[35:55, 45:85] == GLASS).all()
