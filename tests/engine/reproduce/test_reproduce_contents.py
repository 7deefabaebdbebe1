"""Digests of data: what makes another one, and what does not."""

import os

import pytest

from histomm.engine.reproduce import RecipeError, contents
from histomm.engine.reproduce.contents import Contents


@pytest.fixture
def data(tmp_path):
    (tmp_path / 'data/a').mkdir(parents=True)
    (tmp_path / 'data/a/one.bmp').write_bytes(bytes(50))
    (tmp_path / 'data/two.txt').write_text('two')
    return tmp_path / 'data'


@pytest.fixture
def remembered(tmp_path):
    return tmp_path / 'records/contents.json'


def fresh(data, remembered):
    """Digest with nothing remembered."""
    return Contents(remembered.with_name('none.json')).digest(data)


@pytest.mark.parametrize(
    'change',
    [
        lambda data: (data / 'a/one.bmp').write_bytes(bytes(49) + b'x'),
        lambda data: (data / 'a/one.bmp').rename(data / 'one.bmp'),
        lambda data: (data / 'a/one.bmp').unlink(),
        lambda data: (data / 'three').write_text(''),
    ],
    ids=['content', 'place', 'one less', 'one more'],
)
def test_names_places_and_contents_count(data, remembered, change):
    known = Contents(remembered)
    before = known.digest(data)
    change(data)
    assert known.digest(data) != before


def test_times_hidden_files_and_links_to_nowhere_do_not_count(data, remembered):
    before = fresh(data, remembered)
    os.utime(data / 'two.txt', (1, 1))
    (data / '.hidden').mkdir()
    (data / '.hidden/file').write_text('x')
    (data / '.DS_Store').write_text('x')
    (data / 'lost').symlink_to(data / 'nowhere')
    assert fresh(data, remembered) == before


def test_a_link_counts_as_what_it_leads_to(data, remembered):
    before = fresh(data, remembered)
    (data / 'two.txt').rename(data.parent / 'elsewhere.txt')
    (data / 'two.txt').symlink_to(data.parent / 'elsewhere.txt')
    assert fresh(data, remembered) == before


@pytest.mark.parametrize('place', [0, 60, 119])
def test_of_long_files_the_ends_count(data, remembered, monkeypatch, place):
    monkeypatch.setattr(contents, 'READ_WHOLE', 100)
    monkeypatch.setattr(contents, 'END', 40)
    content = bytearray(120)
    (data / 'slide').write_bytes(content)
    before = fresh(data, remembered)
    content[place] = 1
    (data / 'slide').write_bytes(content)
    assert (fresh(data, remembered) != before) == (place != 60)
    (data / 'slide').write_bytes(bytes(121))
    assert fresh(data, remembered) != before


def test_what_was_read_is_not_read_again(data, remembered, monkeypatch):
    known = Contents(remembered)
    before = known.digest(data)
    assert not remembered.exists()
    known.keep()
    monkeypatch.setattr(contents, '_content', lambda *_: pytest.fail('read again'))
    assert Contents(remembered).digest(data) == before


def test_a_file_that_cannot_be_read_is_named(data, remembered, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr('builtins.open', refuse)
    with pytest.raises(RecipeError, match=r'a/one\.bmp: cannot be read, Permission denied'):
        fresh(data, remembered)
