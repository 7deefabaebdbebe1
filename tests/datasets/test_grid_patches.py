"""Patches on a grid: where they lie, whose pixels they are, and images that do not fit."""

import pickle

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from histomm.datasets import GridPatchDataset
from histomm.datasets.grid_patches import grid_starts, image_size
from histomm.datasets.transforms.loading import UnreadableImageError
from histomm.doctor.data_check import check_dataset
from histomm.doctor.findings import Report
from histomm.registry import DATASETS


def write(path, width, height, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.mark.parametrize(
    ('size', 'patch', 'step', 'xs', 'ys'),
    [
        # BACH, and the cells of UCSB, of which the last row begins at 768 − 224
        ((2048, 1536), 512, 256, [0, 256, 512, 768, 1024, 1280, 1536], [0, 256, 512, 768, 1024]),
        ((896, 768), 224, 224, [0, 224, 448, 672], [0, 224, 448, 544]),
        ((512, 513), 512, 256, [0], [0, 1]),
        ((10, 7), 4, 3, [0, 3, 6], [0, 3]),
        ((4, 4), 4, 4, [0], [0]),
    ],
)
def test_patches_begin_at_steps_and_end_at_the_border(size, patch, step, xs, ys):
    assert (grid_starts(size[0], patch, step), grid_starts(size[1], patch, step)) == (xs, ys)


def test_every_pixel_lies_in_a_patch():
    for side in range(5, 40):
        for patch in range(1, side + 1):
            for step in {1, max(1, patch // 2), patch}:
                starts = grid_starts(side, patch, step)
                assert {x for start in starts for x in range(start, start + patch)} == set(range(side))
                assert len(set(starts)) == len(starts)


def test_counts_of_the_published_data_sets(tmp_path):
    write(tmp_path / 'a/bach.tif', 2048, 1536)
    write(tmp_path / 'b/cells.tif', 896, 768)
    assert len(GridPatchDataset(tmp_path / 'a', patch=512, overlap=0.5)) == 35
    assert len(GridPatchDataset(tmp_path / 'b', patch=224, overlap=0)) == 16


def test_patches_are_the_pixels_of_their_image_in_any_order(tmp_path):
    pixels = {f'{label}/{name}.png': write(tmp_path / label / f'{name}.png', 20, 14, seed) for label, name, seed in
              (('x', 'one', 1), ('x', 'two', 2), ('y', 'three', 3))}  # fmt: skip
    init_default_scope('histomm')
    dataset = DATASETS.build(
        dict(
            type='histomm.GridPatchDataset', data_root=str(tmp_path), patch=8, overlap=0.25, with_labels=True,
            classes=('y', 'x'), pipeline=[dict(type='histomm.LoadPatch')],
        )
    )  # fmt: skip
    places = [(x, y) for y in (0, 6) for x in (0, 6, 12)]
    assert len(dataset) == 18
    for index in [*range(18), 17, 3, 9, 0]:
        sample = dataset[index]
        name = list(pixels)[index // 6]
        x, y = places[index % 6]
        assert sample['img_path'] == str(tmp_path / name)
        assert (sample['patch'], sample['gt_label'], sample['img_shape']) == ((x, y), int(name[0] == 'x'), (8, 8))
        np.testing.assert_array_equal(sample['img'], pixels[name][y : y + 8, x : x + 8])
        sample['img'][:] = 0  # what a transform does to a patch does not reach the next one
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again[5]['img'], dataset[5]['img'])
    loaded = [row for batch in DataLoader(dataset, batch_size=5, num_workers=2, collate_fn=list) for row in batch]
    assert all(np.array_equal(row['img'], dataset[index]['img']) for index, row in enumerate(loaded))


def test_images_of_other_sizes_are_told_and_too_small_ones_refused(tmp_path, capsys):
    write(tmp_path / 'a.png', 20, 14)
    write(tmp_path / 'b.png', 20, 14)
    write(tmp_path / 'c.png', 9, 30)
    assert len(GridPatchDataset(tmp_path, patch=8, overlap=0)) == 3 * 2 + 3 * 2 + 2 * 4
    assert 'WARNING - GridPatchDataset: 20 patches of 3 images, 2 of 20×14, 1 of 9×30' in capsys.readouterr().out
    with pytest.raises(ValueError, match=r'c\.png is 9×30, expected at least 12×12; leave it out by exclude, or lower'):
        len(GridPatchDataset(tmp_path, patch=12))
    assert len(GridPatchDataset(tmp_path, patch=12, exclude='c.png')) == 2 * 6
    for options in (dict(patch=0), dict(overlap=1.0), dict(overlap=-0.1), dict(patch=1, overlap=0.9)):
        with pytest.raises(ValueError, match='expected at least 1 pixel, a share in'):
            GridPatchDataset(tmp_path, **options)


def test_damaged_images(tmp_path):
    write(tmp_path / 'good.png', 16, 16)
    write(tmp_path / 'cut.png', 16, 16)
    data = (tmp_path / 'cut.png').read_bytes()
    (tmp_path / 'cut.png').write_bytes(data[: len(data) // 2])
    assert image_size(str(tmp_path / 'cut.png')) == (16, 16), 'the header is whole'
    with pytest.raises(UnreadableImageError, match=r"cut\.png: cannot be read .* set unreadable='skip'"):
        GridPatchDataset(tmp_path, patch=8, overlap=0)[0]
    dataset = GridPatchDataset(tmp_path, patch=8, overlap=0, unreadable='skip')
    assert all(dataset[index]['img_path'].endswith('good.png') for index in range(8))
    assert dataset.unreadable_files() == [str(tmp_path / 'cut.png')]
    (tmp_path / 'cut.png').write_bytes(b'nothing')
    with pytest.raises(UnreadableImageError, match=r'cut\.png: cannot be read'):
        len(GridPatchDataset(tmp_path, patch=8, unreadable='skip'))
    write(tmp_path / 'cut.png', 16, 16)
    dataset = GridPatchDataset(tmp_path, patch=8, overlap=0)
    len(dataset)
    write(tmp_path / 'cut.png', 12, 16)
    with pytest.raises(UnreadableImageError, match=r'cut\.png: has no patch at \(8, 0\) any more; was it replaced\?'):
        dataset[1]


def test_the_doctor_looks_at_it(tmp_path):
    write(tmp_path / 'a/one.png', 16, 16)
    write(tmp_path / 'b/two.png', 16, 16)
    cfg = dict(type='histomm.GridPatchDataset', data_root=str(tmp_path), patch=8, overlap=0, with_labels=True)
    report = Report()
    size = check_dataset(report, 'train_dataloader.dataset', cfg)
    assert (size.samples, size.classes) == (8, 2)
    assert not report.faults
    report = Report()
    assert check_dataset(report, 'train_dataloader.dataset', cfg | dict(patch=20)) is None
    assert len(report.faults) == 1
