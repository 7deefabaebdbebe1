"""The page: what a parser finds in it."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from histomm.visualization.report import Item, Report, data_uri

VOID = {'meta', 'link', 'img'}
FETCHES = {'src', 'href', 'srcset', 'action', 'data', 'poster', 'background'}


class Page(HTMLParser):
    """Collects tags, text by tag, and checks that tags are closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.text = [], [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and data.strip():
            self.text.setdefault(self.open[-1], []).append(data)

    def attributes(self, name):
        return [value for _, attributes in self.tags for key, value in attributes.items() if key == name]


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (12, 20, 3)).astype(np.uint8)


@pytest.fixture
def report(picture):
    figure = Figure()
    figure.add_subplot().plot([1, 2, 3])
    return (
        Report('Title <b> & "more"', 'lead')
        .add_section('Section')
        .add_text('One.\n\nTwo <script>alert(1)</script>.')
        .add_facts({'seed': 0})
        .add_table(['run', 'AP'], [['a<b', 12.34], ['c', None]], 'caption')
        .add_figure(picture, 'noise "quoted"', 'a figure')
        .add_gallery([Item(figure, 'a line'), Item(picture, 'noise', quality=90)])
        .add_commands(['python a.py --x "<y>"', 'python b.py'])
    )


def test_nothing_is_fetched(report):
    page = Page(report.html())
    for name in FETCHES:
        assert all(value.startswith('data:') for value in page.attributes(name))
    style = ''.join(page.text['style'])
    assert 'url(' not in style
    assert '@import' not in style
    assert not any(tag in ('script', 'iframe', 'object', 'embed') for tag, _ in page.tags)


def test_svg_fetches_nothing_either():
    figure = Figure()
    figure.add_subplot().plot([1, 2])
    svg = base64.b64decode(data_uri(figure).split(',', 1)[1]).decode()
    page = HTMLParser()
    page.handle_starttag = lambda tag, attrs: references.extend(v for k, v in attrs if k in ('href', 'xlink:href'))
    references = []
    page.feed(svg)
    assert references
    assert all(value.startswith('#') for value in references)
    assert 'url(http' not in svg


def test_text_is_escaped_and_comes_back_whole(report):
    page = Page(report.html())
    assert page.text['title'] == page.text['h1'] == ['Title <b> & "more"']
    assert page.text['p'] == ['lead', 'One.', 'Two <script>alert(1)</script>.']
    assert page.text['code'] == ['python a.py --x "<y>"\npython b.py']
    assert 'noise "quoted"' in page.attributes('alt')


def test_table_formats_numbers_and_dashes(report):
    page = Page(report.html())
    assert page.text['th'] == ['run', 'AP', 'a<b', 'c']
    assert page.text['td'] == ['12.3', '–']
    assert [attributes.get('class') for tag, attributes in page.tags if tag == 'td'] == ['number', 'number']


def test_pictures_are_embedded_pixel_by_pixel(report, picture):
    sources = Page(report.html()).attributes('src')
    assert [source.split(';')[0] for source in sources] == ['data:image/png', 'data:image/svg+xml', 'data:image/jpeg']
    decoded = Image.open(io.BytesIO(base64.b64decode(sources[0].split(',', 1)[1])))
    np.testing.assert_array_equal(np.asarray(decoded), picture)


def test_every_picture_needs_words(picture):
    with pytest.raises(ValueError, match='alt is empty'):
        Report('t').add_figure(picture, '')


def test_same_figure_gives_the_same_bytes():
    def make():
        figure = Figure()
        figure.add_subplot().plot([1, 3, 2])
        return data_uri(figure)

    assert make() == make()


@pytest.mark.parametrize('shape', [(4, 4), (4, 4, 4)])
def test_wrong_picture_is_refused(shape):
    with pytest.raises(ValueError, match=r'expected uint8 \(H, W, 3\)'):
        data_uri(np.zeros(shape, np.uint8))


def test_unknown_file_and_uneven_row_are_refused():
    with pytest.raises(ValueError, match=r"suffix '\.gif'"):
        data_uri('a.gif')
    with pytest.raises(ValueError, match='has 1 cells, expected 2'):
        Report('t').add_table(['a', 'b'], [['x']])


def test_writes_whole_or_not_at_all(tmp_path, report):
    path = report.write(tmp_path / 'new' / 'report.html')
    assert path.read_text(encoding='utf-8') == report.html()
    assert [file.name for file in path.parent.iterdir()] == ['report.html']
