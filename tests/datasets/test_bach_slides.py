"""BACH, part B: classes of outlines, windows of a slide against a second rasteriser, tiles of a drawn slide."""

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from histomm.datasets.bach_slides import CLASSES, class_of, draw_window, find_outlined_slides, slide_tiles
from histomm.datasets.imagescope import Region, draw_regions, read_regions
from histomm.datasets.label_maps import ConversionError
from histomm.datasets.semantic_tiles import IGNORED
from histomm.datasets.synthetic import write_layout
from histomm.wsi.reader import open_slide


@pytest.fixture(scope='module')
def slides(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn') / 'bach'
    write_layout('bach-wsi', root, 1, 1536, seed=0)
    return root / 'WSI'


def region(*points, number=1, negative=False, names=('Benign',)):
    return Region(number, np.array(points, float), negative, names)


def write_xml(path, body, layer_name='', layer_attributes=''):
    path.write_text(
        f'<Annotations><Annotation Name="{layer_name}"><Attributes>{layer_attributes}</Attributes><Regions>{body}'
        '</Regions></Annotation></Annotations>'
    )
    return path


VERTICES = '<Vertices><Vertex X="1" Y="1"/><Vertex X="9" Y="1"/><Vertex X="9" Y="9"/></Vertices>'


@pytest.mark.parametrize(
    ('head', 'inside', 'layer', 'expected'),
    [
        ('', '<Attributes><Attribute Name="" Value="Invasive carcinoma"/></Attributes>', '', 3),
        ('', '<Attributes><Attribute Name="" Value="Carcinoma in situ"/></Attributes>', 'Benign', 2),
        ('Text="benign lesion"', '', 'invasive', 1),
        ('Text=""', '', 'In-situ', 2),
        ('Text="check again"', '', 'INVASIVE', 3),
    ],
)
def test_class_of_an_outline(tmp_path, head, inside, layer, expected):
    path = write_xml(tmp_path / 'A01.xml', f'<Region {head}>{inside}{VERTICES}</Region>', layer)
    (found,) = read_regions(path)
    assert class_of(path, found) == expected
    assert CLASSES[expected].split()[0] in ' '.join(found.names).lower().replace('-', ' ')


@pytest.mark.parametrize('text', ['Artefact', 'benign or invasive', ''])
def test_unknown_class_of_an_outline(tmp_path, text):
    path = write_xml(tmp_path / 'A01.xml', f'<Region Text="{text}">{VERTICES}</Region>')
    (found,) = read_regions(path)
    with pytest.raises(ConversionError, match=r'A01\.xml: region 1 is called .*, expected one of benign, in situ, inv'):
        class_of(path, found)


def polygons(seed=0, count=6, size=80):
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        points = rng.uniform(20, 60, 2) + rng.uniform(8, 30, (9, 1)) * np.stack(
            [np.cos(angles), np.sin(angles)], axis=1
        )
        found.append((region(*points, number=number + 1, negative=number == 4), number % 3 + 1))
    return found


def test_windows_are_parts_of_the_whole_slide():
    regions = polygons()
    whole = draw_window(regions, 0, 0, (80, 90))
    numbers, _ = draw_regions(None, [one for one, _ in regions], (80, 90))
    code = np.array([0, *(code for _, code in regions)])
    np.testing.assert_array_equal(whole, code[numbers])
    differing = 0
    for y in range(0, 80, 16):
        for x in range(0, 90, 18):
            part = draw_window(regions, x, y, (16, 18))
            differing += (part != whole[y : y + 16, x : x + 18]).sum()
    assert differing <= 0.001 * whole.size


def test_pixels_inside_of_an_outline_are_those_of_a_second_rasteriser():
    regions = polygons(seed=3)
    found = draw_window(regions, 0, 0, (80, 90))
    ys, xs = np.mgrid[0:80, 0:90]
    places, expected = np.stack([xs.ravel(), ys.ravel()], axis=1), np.zeros(80 * 90, np.uint8)
    near = np.zeros(80 * 90, bool)
    for one, code in regions:
        outline = Outline(one.points.astype(int))
        expected[outline.contains_points(places)] = 0 if one.negative else code
        near |= outline.contains_points(places, radius=1.5) != outline.contains_points(places, radius=-1.5)
    assert (found.ravel() == expected)[~near].all()
    assert near.mean() < 0.3
    assert len(np.unique(expected[~near])) == 4


def test_outlines_that_enclose_nothing_and_those_elsewhere():
    far = region((200, 200), (240, 200), (240, 240))
    line = region((1, 1), (9, 9))
    assert not draw_window([(far, 1), (line, 2)], 0, 0, (50, 50)).any()


def test_tiles_of_a_slide(slides):
    (source,) = find_outlined_slides(slides, 512, 512, 0.05)
    assert (source.name, source.group) == ('A01', 'A01')
    tiles = list(source.tiles())
    assert len(tiles) == 9
    regions = read_regions(slides / 'A01.xml')
    numbers, _ = draw_regions(slides / 'A01.xml', regions, (1536, 1536))
    truth = np.array([0, *(class_of(slides, one) for one in regions)])[numbers]
    assert set(np.unique(truth)) == {0, 1, 2, 3}
    with open_slide(slides / 'A01.svs') as slide:
        for tile in filter(None, tiles):
            part = truth[tile.y : tile.y + 512, tile.x : tile.x + 512]
            assert (tile.mask != part).mean() < 0.001
            np.testing.assert_array_equal(tile.image, slide.read(tile.x, tile.y, 512, 512))
    everything = list(slide_tiles(slides / 'A01.svs', slides / 'A01.xml', 512, 512, 0.0, None))
    assert None not in everything
    glass = list(slide_tiles(slides / 'A01.svs', slides / 'A01.xml', 512, 512, 1.0, None))
    outlined = [bool((tile.mask > 0).any()) for tile in everything]
    assert [tile is not None for tile in glass] == outlined, 'tiles with outlines are never left out'


def test_beyond_the_slide_is_ignored(slides):
    tiles = list(slide_tiles(slides / 'A01.svs', slides / 'A01.xml', 1024, 1024, 0.0, None))
    assert [(tile.x, tile.y) for tile in tiles] == [(0, 0), (1024, 0), (0, 1024), (1024, 1024)]
    assert not (tiles[0].mask == IGNORED).any()
    for tile, beyond in zip(tiles[1:], (np.s_[:, 512:], np.s_[512:], np.s_[512:]), strict=True):
        assert (tile.mask[beyond] == IGNORED).all()
        assert (tile.image[beyond] == 255).all()
    assert (tiles[3].mask == IGNORED).mean() == 0.75


def test_bad_slides(slides, tmp_path):
    with pytest.raises(ConversionError, match='is not a folder; give the folder WSI of BACH'):
        find_outlined_slides(tmp_path / 'none', 512, 512, 0.05)
    with pytest.raises(ConversionError, match='holds no svs with an xml of the same name'):
        find_outlined_slides(tmp_path, 512, 512, 0.05)
    write_xml(tmp_path / 'A02.xml', f'<Region Text="benign">{VERTICES}</Region>')
    with pytest.raises(ConversionError, match=r'1 labels such as .*A02\.xml have no image of the same name'):
        find_outlined_slides(tmp_path, 512, 512, 0.05)
    (tmp_path / 'A02.svs').write_bytes(b'no slide')
    with pytest.raises(ConversionError, match=r'A02\.svs'):
        list(slide_tiles(tmp_path / 'A02.svs', tmp_path / 'A02.xml', 512, 512, 0.05, None))
    far = VERTICES.replace('X="9"', 'X="9000"')
    write_xml(tmp_path / 'A01.xml', f'<Region Text="benign">{far}</Region>')
    with pytest.raises(ConversionError, match='region 1 reaches far beyond its slide of 1536x1536'):
        list(slide_tiles(slides / 'A01.svs', tmp_path / 'A01.xml', 512, 512, 0.05, None))
