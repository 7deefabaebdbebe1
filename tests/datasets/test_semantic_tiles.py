"""Tiles of large pictures: every pixel once, classes as drawn, splits by slide, runs that stop and go on."""

import csv
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from histomm.datasets.digestpath import find_pictures, read_picture
from histomm.datasets.label_maps import ConversionError, read_label_map
from histomm.datasets.semantic_tiles import (
    IGNORED,
    Source,
    cut_picture,
    split_names,
    starts,
    write_tiles,
)
from histomm.datasets.transforms.loading import read_image


def drawn(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, 3), dtype=np.uint8), rng.integers(0, 3, shape).astype(np.uint8)


@pytest.mark.parametrize('length', [1, 31, 32, 33, 64, 65, 100])
@pytest.mark.parametrize('stride', [32, 16, 7])
def test_every_pixel_is_in_a_tile_and_no_tile_is_beyond(length, stride):
    places = list(starts(length, 32, stride))
    assert {pixel for start in places for pixel in range(start, start + 32)} >= set(range(length))
    assert places[-1] < length
    assert places == [stride * number for number in range(len(places))]
    without_last = {pixel for start in places[:-1] for pixel in range(start, start + 32)}
    assert not without_last >= set(range(length)), 'the last tile is needed'


@pytest.mark.parametrize('shape', [(32, 64), (70, 45), (20, 90)])
def test_tiles_put_together_are_the_picture(shape):
    image, mask = drawn(shape)
    whole = np.full((128, 128, 3), 255, np.uint8), np.full((128, 128), IGNORED, np.uint8)
    for tile in cut_picture(image, mask, 32, 32):
        for canvas, part in zip(whole, (tile.image, tile.mask), strict=True):
            assert part.shape[:2] == (32, 32)
            canvas[tile.y : tile.y + 32, tile.x : tile.x + 32] = part
    for canvas, truth in zip(whole, (image, mask), strict=True):
        np.testing.assert_array_equal(canvas[: shape[0], : shape[1]], truth)
        assert (canvas[shape[0] :] == 255).all()
        assert (canvas[:, shape[1] :] == 255).all()


def test_splits_of_ten_slides():
    names = [f'A{number:02d}' for number in range(1, 11)]
    splits = split_names(names, (5, 3, 2), 0)
    assert [list(splits.values()).count(part) for part in ('train', 'val', 'test')] == [5, 3, 2]
    assert splits == split_names(reversed(names), (5, 3, 2), 0) == split_names(names * 2, (5, 3, 2), 0)
    assert splits != split_names(names, (5, 3, 2), 1)
    for count in range(3, 9):
        assert set(split_names(names[:count], (5, 3, 2), 0).values()) == {'train', 'val', 'test'}
    with pytest.raises(ConversionError, match='2 patients, slides or pictures cannot be split, expected 3 or more'):
        split_names(names[:2], (5, 3, 2), 0)


def sources(root, fail=''):
    """Four pictures of 40 × 32; reading one called ``fail`` raises."""
    root.mkdir(exist_ok=True)

    def tiles(name, seed):
        if name == fail:
            raise ConversionError(f'{name} is broken')
        return [*cut_picture(*drawn((32, 40), seed), 32, 32), None]

    found = []
    for seed, name in enumerate('abcd'):
        (root / name).write_text(name)
        found.append(Source(name, (root / name,), name, lambda name=name, seed=seed: tiles(name, seed)))
    return found


SPLITS = dict(a='train', b='train', c='val', d='test')


def test_tiles_and_summary_on_disk(tmp_path, capsys):
    write_tiles(sources(tmp_path / 'raw'), SPLITS, ('x', 'y', 'z'), tmp_path / 'out', dict(dataset='t', seed=0))
    for seed, name in enumerate('abcd'):
        image, mask = drawn((32, 40), seed)
        folder = tmp_path / 'out' / SPLITS[name]
        np.testing.assert_array_equal(read_image(str(folder / f'img/{name}_x0_y0.png')), image[:, :32])
        np.testing.assert_array_equal(read_label_map(folder / f'mask/{name}_x0_y0.png'), mask[:, :32])
        right = read_label_map(folder / f'mask/{name}_x32_y0.png')
        np.testing.assert_array_equal(right[:, :8], mask[:, 32:])
        assert (right[:, 8:] == IGNORED).all()
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 16
    with open(tmp_path / 'out/summary.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    for seed, row in enumerate(rows):
        counts = np.bincount(drawn((32, 40), seed)[1].ravel())
        assert [int(row[name]) for name in 'xyz'] == counts.tolist()
        assert (row['split'], row['tiles'], row['left_out']) == (SPLITS[row['name']], '2', '1')
    assert 'train: 2 groups, 2 pictures, 4 tiles, 2 left out; x 3' in capsys.readouterr().out
    assert json.loads((tmp_path / 'out/conversion.json').read_text())['splits'] == SPLITS


def test_a_stopped_run_goes_on_and_gives_the_same(tmp_path, capsys):
    arguments = SPLITS, ('x', 'y', 'z')
    write_tiles(sources(tmp_path / 'raw'), *arguments, tmp_path / 'whole', dict(dataset='t', seed=0))
    with pytest.raises(ConversionError, match='c is broken'):
        write_tiles(sources(tmp_path / 'raw', fail='c'), *arguments, tmp_path / 'out', dict(dataset='t', seed=0))
    assert not (tmp_path / 'out').exists()
    with open(tmp_path / 'out.partial/journal.jsonl', 'a') as file:
        file.write('["c", {"na')  # the line that was being written
    capsys.readouterr()
    write_tiles(sources(tmp_path / 'raw', fail='a'), *arguments, tmp_path / 'out', dict(dataset='t', seed=0))
    assert '3/4 c' in capsys.readouterr().out
    files = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob('*') if path.is_file()}
        for root in (tmp_path / 'whole', tmp_path / 'out')
    ]
    assert files[0] == files[1]
    write_tiles(sources(tmp_path / 'raw', fail='a'), *arguments, tmp_path / 'out', dict(dataset='t', seed=0))
    assert 'holds these tiles already' in capsys.readouterr().out
    with pytest.raises(ConversionError, match='holds what other data or options gave'):
        write_tiles(sources(tmp_path / 'raw'), *arguments, tmp_path / 'out', dict(dataset='other', seed=0))


def test_draws_of_training_tiles_lie_in_each_other(tmp_path):
    many = [Source(str(n), (), str(n), lambda n=n: list(cut_picture(*drawn((64, 80), n), 16, 16))) for n in range(6)]
    splits = {str(n): 'train' if n < 4 else ('val', 'test')[n % 2] for n in range(6)}
    write_tiles(many, splits, ('x', 'y', 'z'), tmp_path / 'out', dict(dataset='t', seed=7))
    everything = {path.stem for path in (tmp_path / 'out/train/img').iterdir()}
    assert len(everything) == 80
    for draw in range(5):
        larger = everything
        for percent, count in ((50, 40), (20, 16), (10, 8), (5, 4)):
            names = (tmp_path / f'out/train_{percent}_{draw}.txt').read_text().split()
            assert len(names) == count
            assert set(names) <= larger
            larger = set(names)
    assert len({(tmp_path / f'out/train_5_{draw}.txt').read_text() for draw in range(5)}) == 5


def test_what_cannot_be_tiled(tmp_path):
    twice = sources(tmp_path / 'raw') + sources(tmp_path / 'raw')
    with pytest.raises(ConversionError, match='have the same name; keep one'):
        write_tiles(twice, SPLITS, ('x',), tmp_path / 'out', {})
    empty = [source._replace(tiles=lambda: [None]) for source in sources(tmp_path / 'raw')]
    with pytest.raises(ConversionError, match='none of 4 pictures gave a tile'):
        write_tiles(empty, SPLITS, ('x',), tmp_path / 'out', {})


# ---- DigestPath

SLIDE = 'D2018_2019-02-25 21_26_36'


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


def picture(root, name, mask=True, folder='tissue-train-pos', size=(48, 40)):
    truth = np.zeros(size[::-1], np.uint8)
    cv2.circle(truth, (20, 18), 12, 255, -1)
    save(root / folder / f'{name}.jpg', np.full((*size[::-1], 3), 180, np.uint8))
    if mask:
        save(root / folder / f'{name}_mask.jpg', truth)
    return truth


def test_pictures_of_digestpath(tmp_path, capsys):
    truth = picture(tmp_path, f'{SLIDE}-lv1-100-200-48-40')
    picture(tmp_path, f'{SLIDE}-lv1-300-200-48-40')
    picture(tmp_path, 'other-lv0-1-2-3-4', mask=False, folder='tissue-train-neg')
    found = find_pictures(tmp_path, 32, 32)
    assert [source.group for source in found] == [SLIDE, SLIDE]
    assert found[0].name == f'{SLIDE}-lv1-100-200-48-40'.replace(' ', '_')
    assert 'note: 1 pictures without lesions have no mask and are left out' in capsys.readouterr().out
    image, mask = read_picture(*found[0].files)
    assert image.shape == (40, 48, 3)
    # JPEG blurs an outline by less than a pixel where black meets white.
    assert ((mask == 1) == (truth > 127)).all()
    tiles = list(found[0].tiles())
    assert [(tile.x, tile.y) for tile in tiles] == [(0, 0), (32, 0), (0, 32), (32, 32)]
    np.testing.assert_array_equal(tiles[0].mask, mask[:32, :32])


def test_bad_pictures_of_digestpath(tmp_path):
    name = f'{SLIDE}-lv1-1-2-3-4'
    picture(tmp_path / 'bare', name, mask=False)
    with pytest.raises(ConversionError, match=r'have no mask .*_mask\.jpg beside them; add it, or move'):
        find_pictures(tmp_path / 'bare', 32, 32)
    picture(tmp_path / 'lonely', name)
    (tmp_path / 'lonely/tissue-train-pos' / f'{name}.jpg').unlink()
    with pytest.raises(ConversionError, match=r'1 masks such as .* have no picture beside them'):
        find_pictures(tmp_path / 'lonely', 32, 32)
    picture(tmp_path / 'named', 'picture1')
    with pytest.raises(ConversionError, match=r'picture1\.jpg has a name that does not say of which slide'):
        find_pictures(tmp_path / 'named', 32, 32)
    picture(tmp_path / 'neg', name, mask=False, folder='tissue-train-neg')
    with pytest.raises(ConversionError, match='holds no picture with a mask; give the folder with tissue-train-pos'):
        find_pictures(tmp_path / 'neg', 32, 32)
    picture(tmp_path / 'size', name)
    mask = tmp_path / 'size/tissue-train-pos' / f'{name}_mask.jpg'
    save(mask, np.zeros((40, 47), np.uint8))
    with pytest.raises(ConversionError, match=r'is 47x40, its image .* is 48x40; they must be the same size'):
        read_picture(mask.with_name(f'{name}.jpg'), mask)
    save(mask, np.full((40, 48), 120, np.uint8))
    with pytest.raises(ConversionError, match='100% of the pixels are grey, expected black and white'):
        read_picture(mask.with_name(f'{name}.jpg'), mask)
