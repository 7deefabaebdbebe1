"""Outlines of ImageScope: what is read and what is refused, and the maps that they make."""

import numpy as np
import pytest
from PIL import Image

from histomm.datasets.imagescope import Region, draw_regions, read_regions
from histomm.datasets.label_maps import ConversionError

SQUARE = [(2, 3), (6, 3), (6, 8), (2, 8)]


def xml(*regions, head=''):
    """Regions as lists of vertices, or as text between <Region> and </Region>."""
    text = ''
    for number, region in enumerate(regions, 1):
        if not isinstance(region, str):
            region = ''.join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in region)
        text += f'<Region Id="{number}"><Vertices>{region}</Vertices></Region>'
    return f'{head}<Annotations><Annotation Id="1"><Regions>{text}</Regions></Annotation></Annotations>'


@pytest.fixture
def read(tmp_path):
    def call(text):
        path = tmp_path / 'a.xml'
        path.write_text(text)
        return read_regions(path)

    return call


def draw(*outlines, shape=(12, 20), negative=()):
    regions = [Region(i, np.array(points, float).reshape(-1, 2), i in negative) for i, points in enumerate(outlines, 1)]
    return draw_regions('a.xml', regions, shape)


def test_vertices_in_order_over_all_layers(read):
    layer = (
        '<Annotation><Regions><Region NegativeROA="1"><Vertices><Vertex X="1" Y="2.5"/></Vertices></Region></Regions>'
    )
    regions = read(xml(SQUARE, []).replace('</Annotations>', f'{layer}</Annotation></Annotations>'))
    assert [region.number for region in regions] == [1, 2, 3]
    assert regions[0].points.tolist() == [list(map(float, point)) for point in SQUARE]
    assert regions[1].points.shape == (0, 2)
    assert regions[2].points.tolist() == [[1.0, 2.5]]
    assert [region.negative for region in regions] == [False, False, True]
    assert read(xml()) == []


BOMB = '<!DOCTYPE x [<!ENTITY a "lol">' + ''.join(
    f'<!ENTITY {name} "{("&" + inner + ";") * 10}">' for inner, name in zip('abcdefgh', 'bcdefghi', strict=True)
)


@pytest.mark.parametrize(
    'head',
    [
        f'{BOMB}]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1:9/x.dtd"> %a;]>',
        '<!DOCTYPE Annotations SYSTEM "http://127.0.0.1:9/x.dtd">',
    ],
    ids=['billion laughs', 'external entity', 'parameter entity', 'external DTD'],
)
def test_entities_and_references_are_refused(head, read):
    with pytest.raises(ConversionError, match=r'annotation .*a\.xml declares a document type or entities'):
        read(xml(SQUARE, '<Vertex X="&i;" Y="1"/>' if 'ENTITY i' in head else [], head=head))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'cannot be read'),
        (xml(SQUARE)[:-20], 'cannot be read'),
        ('<?xml version="1.0" encoding="klingon"?>' + xml(SQUARE), 'cannot be read'),
        ('<html/>', 'begins with <html>, expected <Annotations>'),
        (xml(SQUARE, '<Vertex X="1"/>'), "region 2 has a vertex with X='1' and Y=None, expected numbers"),
        (xml('<Vertex X="1,5" Y="2"/>'), "region 1 has a vertex with X='1,5'"),
    ],
)
def test_damaged_files(text, message, read):
    with pytest.raises(ConversionError, match=message):
        read(text)


def test_a_missing_file(tmp_path):
    with pytest.raises(ConversionError, match=r'none\.xml is missing'):
        read_regions(tmp_path / 'none.xml')


def test_a_square_covers_its_outline():
    labels, counts = draw(SQUARE)
    expected = np.zeros((12, 20), int)
    expected[3:9, 2:7] = 1  # both ends included
    assert labels.tolist() == expected.tolist()
    assert labels.dtype == np.int32
    assert +counts == {'regions': 1}


def test_a_triangle_by_distance_to_its_edges():
    """All pixels inside, and of those outside none that no line between the pixels of the vertices runs through."""
    labels, _ = draw([[3.3, 2.2], [15.9, 4.1], [6.4, 10.7]])
    corners = np.array([[3, 2], [15, 4], [6, 10]])
    x, y = np.meshgrid(np.arange(20), np.arange(12))
    depth = np.full((12, 20), np.inf)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        depth = np.minimum(depth, ((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / np.hypot(x1 - x0, y1 - y0))
    assert (labels[depth >= 0] == 1).all()
    assert (labels[depth < -0.5] == 0).all()


def test_the_later_region_wins_and_a_hidden_one_is_counted():
    right = [(5, 3), (9, 3), (9, 8), (5, 8)]
    labels, counts = draw(SQUARE, right)
    assert labels[3:9, 4:7].tolist() == [[1, 2, 2]] * 6
    assert counts['covered'] == 0
    labels, counts = draw([(4, 4), (5, 4), (5, 5)], SQUARE)
    assert set(np.unique(labels)) == {0, 2}
    assert counts['covered'] == 1


def test_open_empty_and_negative_regions():
    labels, counts = draw([(1, 1), (8, 8)], [], [(3, 3)], SQUARE, [(4, 3), (5, 3), (5, 8), (4, 8)], negative=(5,))
    assert labels[3:9, 1:8].tolist() == [[0, 4, 4, 0, 0, 4, 0]] * 6
    assert labels.sum() == 4 * 3 * 6
    assert +counts == {'regions': 5, 'open': 2, 'empty': 1, 'negative': 1}


def test_what_reaches_beyond_the_image_is_cut_and_what_lies_beside_left_out():
    labels, counts = draw([(-2, 3), (1, 3), (1, 13), (-2, 13)], [(21, 2), (21.5, 2), (21.5, 5)])
    expected = np.zeros((12, 20), int)
    expected[3:, :2] = 1
    assert labels.tolist() == expected.tolist()
    assert +counts == {'regions': 2, 'cut': 1, 'outside': 1}


@pytest.mark.parametrize('far', [(50, 5), (5, 14), (-3, 2), (1e30, 2), (float('nan'), 2), (2, float('-inf'))])
def test_vertices_far_outside_are_refused(far):
    with pytest.raises(ConversionError, match=r'region 2 has a vertex at \(.*\), far outside of its image of 20x12'):
        draw(SQUARE, [(1, 1), (4, 4), far])


def test_annotations_of_real_tissue(real_data):
    """Masks that were made from the same outlines by others: the later region wins, and the outline counts."""
    folder = real_data / 'monuseg'
    files = sorted(folder.glob('*/Annotations/*.xml'))
    assert len(files) == 6
    for path in files:
        expected = np.asarray(Image.open(folder / 'instance_masks' / f'{path.stem}.png'))
        labels, counts = draw_regions(path, read_regions(path), expected.shape)
        np.testing.assert_array_equal(labels, expected)
        assert counts['regions'] == expected.max()
        assert 0 < counts['cut'] < 20
