"""Gleason2019: the vote of experts, and the grade of a tile, against naive loops."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from histomm.datasets.gleason import GRADES, core_tiles, find_cores, majority, tile_grade
from histomm.datasets.label_maps import ConversionError


def write_core(root, image, maps, name='slide001_core002'):
    for folder, pixels, file in (
        ('Train_imgs', image, f'{name}.png'),
        *((f'Maps{number}_T', codes, f'{name}_classimg_nonconvex.png') for number, codes in maps.items()),
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / folder / file)


def drawn(shape=(70, 100), experts=(1, 3, 4, 6), seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    return image, {number: rng.choice([0, 1, 3, 4, 5], shape).astype(np.uint8) for number in experts}


def vote(codes):
    """The code with most votes, the lowest of several."""
    counts = Counter(codes)
    return min(code for code in counts if counts[code] == max(counts.values()))


@pytest.mark.parametrize('experts', [1, 2, 3, 6])
def test_majority_is_the_naive_vote(experts):
    _, maps = drawn((12, 15), range(experts))
    maps = list(maps.values())
    found = majority(maps)
    for y in range(12):
        for x in range(15):
            assert found[y, x] == vote([int(one[y, x]) for one in maps])


def test_grade_of_a_tile_by_hand():
    assert tile_grade(np.array([[0, 0, 0, 0], [0, 3, 4, 4]])) == 4, 'background does not count'
    assert tile_grade(np.array([[5, 3], [5, 3]])) == 3, 'the lowest of several'
    assert tile_grade(np.zeros((2, 2), int)) == 0


def test_tiles_of_a_core_are_those_of_a_naive_loop(tmp_path):
    image, maps = drawn()
    maps = {number: np.where(np.arange(100) < 64, codes, 0).astype(np.uint8) for number, codes in maps.items()}
    write_core(tmp_path, image, maps)
    (core,) = find_cores(tmp_path)
    assert [path.parent.name for path in core.maps] == ['Maps1_T', 'Maps3_T', 'Maps4_T', 'Maps6_T']
    tiles = list(core_tiles(core, 32, 32, {}))
    expected = []
    for y in (0, 32):
        for x in (0, 32, 64):
            votes = [
                vote([int(one[r, c]) for one in maps.values()]) for r in range(y, y + 32) for c in range(x, x + 32)
            ]
            graded = [code for code in votes if code]
            expected.append((x, y, GRADES[vote(graded)]) if graded else None)
    assert [tile and (tile.x, tile.y, tile.label) for tile in tiles] == expected
    assert expected.count(None) == 2
    for tile in filter(None, tiles):
        np.testing.assert_array_equal(tile.image, image[tile.y : tile.y + 32, tile.x : tile.x + 32])


def test_larger_tiles_are_means_of_pixels_and_may_need_a_share(tmp_path):
    image, maps = drawn((64, 64))
    maps = {1: np.where(np.arange(64) < 16, 3, 0).astype(np.uint8).repeat(64).reshape(64, 64)}
    write_core(tmp_path, image, maps)
    (core,) = find_cores(tmp_path)
    (tile,) = core_tiles(core, 64, 32, {})
    means = image.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(tile.image - means).max() <= 0.5
    assert tile.label == 'grade3'
    assert list(core_tiles(core, 64, 32, {}, min_graded=0.25)) != [None]
    assert list(core_tiles(core, 64, 32, {}, min_graded=0.26)) == [None]


def test_codes_of_no_known_meaning(tmp_path):
    image, maps = drawn()
    maps[3][:] = 6
    write_core(tmp_path, image, maps)
    (core,) = find_cores(tmp_path)
    with pytest.raises(ConversionError, match=r'holds the code 6, expected 0 or one of 1, 3, 4, 5; .* --recode 6=1'):
        list(core_tiles(core, 32, 32, {}))
    maps[3][:] = 1
    write_core(tmp_path / 'known', image, maps)
    (known,) = find_cores(tmp_path / 'known')
    recoded, plain = (list(core_tiles(one, 32, 32, recode)) for one, recode in ((core, {6: 1}), (known, {})))
    assert [tile.label for tile in recoded] == [tile.label for tile in plain]


def test_bad_files(tmp_path):
    image, maps = drawn()
    write_core(tmp_path / 'size', image, {1: maps[1][:-1]})
    (core,) = find_cores(tmp_path / 'size')
    with pytest.raises(ConversionError, match=r'is 100x69, its image .* is 100x70; they must be the same size'):
        list(core_tiles(core, 32, 32, {}))
    write_core(tmp_path / 'a', image, maps)
    write_core(tmp_path / 'a', image, {}, name='slide002_core001')
    with pytest.raises(ConversionError, match='1 cores such as slide002_core001 have no map of an expert'):
        find_cores(tmp_path / 'a')
    write_core(tmp_path / 'b', image, maps)
    (tmp_path / 'b/Train_imgs/slide001_core002.png').rename(tmp_path / 'b/Train_imgs/slide009_core002.png')
    with pytest.raises(ConversionError, match='such as slide009_core002 have no map of an expert'):
        find_cores(tmp_path / 'b')
    write_core(tmp_path / 'c', image, maps, name='core002')
    with pytest.raises(ConversionError, match='has a name of another form, expected slide<number>_core<number>'):
        find_cores(tmp_path / 'c')
    (tmp_path / 'd/Train_imgs').mkdir(parents=True)
    with pytest.raises(ConversionError, match='holds no folders Maps1_T'):
        find_cores(tmp_path / 'd')
