"""The measurement on real tissue: its tiles, and which runs it takes for finished. Its stages are tested as tools."""

import json

import cv2
import numpy as np
import pytest
from tool_modules import load_tool


@pytest.fixture(scope='module')
def script():
    return load_tool('tools/benchmarks/real_tissue.py')


def test_tiles_cover_images_and_leave_test_images_and_masks_out(script, tmp_path):
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (70, 100, 3), dtype=np.uint8)
    data, out = tmp_path / 'data', tmp_path / 'tiles'
    for name in (
        'a/x.png',
        'a/deep/x.png',
        'glas/train_1.png',
        'glas/testB_1.png',
        'glas/train_1_anno.png',
        'b/mask_1.png',
    ):
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    # three images of 70 x 100 give 2 x 3 tiles of 32 each; equal names in different folders stay apart
    assert script.cut_tiles(data, out, 32) == 18
    assert sorted(path.name for path in out.iterdir()) == ['a', 'glas']
    assert {path.name.rsplit('_', 2)[0] for path in (out / 'glas').iterdir()} == {'train_1'}
    np.testing.assert_array_equal(cv2.imread(str(out / 'a/x_64_32.png')), image[32:64, 64:96])


def _finished_run(folder, config, rows, last):
    data = folder / '20260101/vis_data'
    data.mkdir(parents=True)
    (data / 'config.py').write_text(config)
    (data / 'scalars.json').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    (folder / 'last_checkpoint').write_text(str(folder / last))


AP = {'coco/bbox_mAP': 0.125, 'coco/segm_mAP': 0.25}


@pytest.mark.parametrize(
    ('rows', 'last', 'expected'),
    [
        ([{'loss': 1.0}, AP], 'iter_40.pth', {'bbox': 12.5, 'segm': 25.0}),
        ([AP, {'loss': 1.0}], 'iter_40.pth', None),
        ([{'loss': 1.0}, AP], 'iter_20.pth', None),
    ],
    ids=['finished', 'stopped after an evaluation', 'stopped before the last checkpoint'],
)
def test_only_finished_runs_count(script, tmp_path, rows, last, expected):
    _finished_run(tmp_path, 'train_cfg = dict(max_iters=40)\n', rows, last)
    assert script.finished_ap(tmp_path) == expected
