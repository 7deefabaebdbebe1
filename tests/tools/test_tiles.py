"""Tiles: every pixel of an image that fits, once, and nothing of what is excluded."""

import json

import cv2
import numpy as np
import pytest
from tool_modules import load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/dataset_converters/tiles.py')


@pytest.fixture
def data(tmp_path):
    """Five images of 70 x 100 pixels and one that is smaller than a tile; two of the five are not to be seen."""
    image = np.random.default_rng(0).integers(0, 256, (70, 100, 3), dtype=np.uint8)
    for name in ('a/x.png', 'a/deep/x.png', 'glas/train_1.png', 'glas/testB_1.png', 'b/mask_1.png'):
        path = tmp_path / 'data' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    cv2.imwrite(str(tmp_path / 'data/a/small.png'), image[:31])
    return tmp_path / 'data', image


def test_tiles_cover_images_and_leave_out_what_is_excluded(tool, data, tmp_path, capsys):
    root, image = data
    out = tmp_path / 'tiles'
    tool.main([str(root), '--out', str(out), '--size', '32', '--exclude', '*mask*', '*testB_*'])
    # 2 x 3 tiles of 32 each; equal names in different folders stay apart
    found = {path.relative_to(out).as_posix() for path in out.rglob('*.png')}
    corners = [f'{x}_{y}' for x in (0, 32, 64) for y in (0, 32)]
    assert found == {f'{stem}_{corner}.png' for stem in ('a/x', 'a/deep/x', 'glas/train_1') for corner in corners}
    for x in (0, 32, 64):
        for y in (0, 32):
            tile = cv2.imread(str(out / f'a/deep/x_{x}_{y}.png'))
            np.testing.assert_array_equal(tile, image[y : y + 32, x : x + 32])
    assert json.loads((out / 'tiles.json').read_text()) == {
        'size': 32,
        'tiles': {'a/deep/x.png': 6, 'a/small.png': 0, 'a/x.png': 6, 'glas/train_1.png': 6},
    }
    assert capsys.readouterr().out == f'{out}: 18 tiles of 4 images, 1 of them smaller than a tile\n'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--size', '99'], r'none of 6 images has 99 x 99 pixels; choose a smaller --size'),
        (['--size', '0'], r'--size is 0, expected at least 1'),
    ],
)
def test_what_cannot_be_cut_is_told(tool, data, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=f'^tiles: .*{message}'):
        tool.main([str(data[0]), '--out', str(tmp_path / 'tiles'), *arguments])


def test_nothing_is_overwritten(tool, data, tmp_path):
    root, image = data
    cv2.imwrite(str(root / 'a/x.bmp'), image)
    with pytest.raises(SystemExit, match=r'holds a/x\.bmp and a/x\.png, whose tiles would have the same names'):
        tool.main([str(root), '--out', str(tmp_path / 'tiles'), '--size', '32'])
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/thesis.tex').touch()
    for out in ('full', 'full/thesis.tex'):
        with pytest.raises(SystemExit, match=rf'{out} is not empty or no folder; choose a new or empty folder'):
            tool.main([str(root), '--out', str(tmp_path / out)])


def test_unreadable_image_and_missing_folder_are_told(tool, data, tmp_path):
    (data[0] / 'a/x.png').write_bytes(b'\x89PNG')
    with pytest.raises(SystemExit, match=r'^tiles: \S+/data/a/x\.png: cannot be read .*; repair or remove it$'):
        tool.main([str(data[0]), '--out', str(tmp_path / 'tiles'), '--size', '32'])
    with pytest.raises(SystemExit, match=r'^tiles: .*none'):
        tool.main([str(tmp_path / 'none'), '--out', str(tmp_path / 'tiles2')])
