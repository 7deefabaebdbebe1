"""Drawn layouts of downstream data sets: names, truth, and what distinguishes the classes."""

import csv
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.color import rgb2hed

from histomm.datasets.breakhis import parse_name
from histomm.datasets.synthetic import draw_magnifications, draw_patchwork, write_layout
from histomm.datasets.transforms.loading import read_image

LAYOUTS = {
    'bach': ((64, 48), 8),
    'bach-wsi': ((512, 512), 1),
    'breakhis': ((64, 48), 8),
    'breastpathq': ((64, 64), 12),
    'digestpath2019': ((64, 48), 3),
    'gleason2019': ((64, 64), 2),
    'lymphoma': ((64, 48), 6),
    'nct-val': ((48, 48), 9),
    'ucsb': ((64, 48), 6),
}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize('name', LAYOUTS)
def test_equal_seeds_give_equal_bytes_and_others_other_pictures(name, tmp_path):
    size, num = LAYOUTS[name]
    for folder, seed in (('one', 1), ('same', 1), ('other', 2)):
        pictures = write_layout(name, tmp_path / folder, num, size, seed)
    found = {folder: contents(tmp_path / folder) for folder in ('one', 'same', 'other')}
    assert found['one'] == found['same']
    assert len(pictures) == num
    other = [path.relative_to(tmp_path / 'other') for path in pictures]
    assert all(found['one'][path] != found['other'][path] for path in other)
    if name != 'bach-wsi':
        assert read_image(str(pictures[0])).shape == (*size[::-1], 3)


def test_each_magnification_shows_the_middle_of_the_one_before():
    pictures = draw_magnifications('NORM', (200, 160), seed=0, patient=1, index=2, factors=(1, 2.5, 5, 10))
    first = pictures[0].astype(np.float32)
    centre = np.array([99.5, 79.5])
    for factor, near in zip((2.5, 5, 10), pictures[1:], strict=True):
        # Shrink it by the factor, and compare it with the pixels of the first around the same middle.
        shape = round(200 / factor), round(160 / factor)
        small = cv2.resize(near, shape, interpolation=cv2.INTER_AREA).astype(np.float32)
        part = cv2.getRectSubPix(first, shape, tuple(centre))
        elsewhere = cv2.getRectSubPix(first, shape, (centre[0] + 15, centre[1] - 12))
        same = np.corrcoef(small.ravel(), part.ravel())[0, 1]
        assert same > 0.9
        assert same > np.corrcoef(small.ravel(), elsewhere.ravel())[0, 1] + 0.1
    with pytest.raises(ValueError, match='factors are'):
        draw_magnifications('NORM', 64, factors=(0.5, 1))
    with pytest.raises(ValueError, match="tissue is 'XXX'"):
        draw_magnifications('XXX', 64)


def test_breakhis_has_four_magnifications_of_every_place(tmp_path):
    pictures = write_layout('breakhis', tmp_path, 34, (32, 32), seed=0)
    names = [parse_name(path.name) for path in sorted(tmp_path.rglob('*.png'))]
    assert len(names) == 4 * len(pictures) == 136
    assert set(Counter((name.patient, name.sequence) for name in names).values()) == {4}
    assert Counter(name.label for name in names) == dict(benign=68, malignant=68)
    assert len({name.subtype for name in names}) == 8
    patients = {(name.patient, name.subtype) for name in names}
    assert len(patients) == len({patient for patient, _ in patients})
    assert len({name.case for name in names}) < len(patients), 'some patients share the number of a slide'
    assert min(int(name.case.split('-')[1]) for name in names) >= 90000, 'no real slide has such a number'


def haematoxylin(image):
    return rgb2hed(image)[..., 0]


def test_islands_cover_their_share_and_show_their_tissue():
    ratios = []
    for patient in range(4):
        for share in (0.0, 0.3, 0.8):
            image, which = draw_patchwork(('STR', 'LYM'), (share,), 96, seed=1, patient=patient, index=5)
            assert image.shape == (96, 96, 3)
            assert (which == 1).mean() == pytest.approx(share, abs=0.02)
        stain = haematoxylin(image)
        ratios.append(stain[which == 1].mean() / stain[which == 0].mean())
    assert np.mean(ratios) > 1.3, 'there are more nuclei in the islands'


def test_cellularities_are_the_shares_that_are_drawn(tmp_path):
    write_layout('breastpathq', tmp_path, 24, 96, seed=0)
    stained, values = defaultdict(list), defaultdict(list)
    for part, table in (('train', 'train_labels.csv'), ('validation', 'val_labels.csv')):
        with open(tmp_path / 'datasets' / table, newline='') as file:
            for row in csv.DictReader(file):
                image = read_image(str(tmp_path / 'datasets' / part / f'{row["slide"]}_{row["rid"]}.tif'))
                stained[row['slide']].append(haematoxylin(image).mean())
                values[row['slide']].append(float(row['y']))
    assert {len(found) for found in values.values()} == {6}
    assert min(map(min, values.values())) == 0
    assert max(map(max, values.values())) > 0.7
    # Slides are stained unlike each other, so patches are compared with those of their own.
    assert np.mean([np.corrcoef(stained[slide], values[slide])[0, 1] for slide in values]) > 0.5


def test_experts_of_gleason_differ_where_outlines_are(tmp_path):
    write_layout('gleason2019', tmp_path, 4, 128, seed=0)
    for image in sorted((tmp_path / 'Train_imgs').glob('*.jpg')):
        maps = sorted(tmp_path.glob(f'Maps*_T/{image.stem}_classimg_nonconvex.png'))
        assert 3 <= len(maps) <= 6
        codes = np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in maps])
        assert set(np.unique(codes)) <= {0, 1, 3, 4, 5}
        assert codes.shape[1:] == read_image(str(image)).shape[:2]
        differs = (codes != codes[0]).any(axis=0)
        assert 0.02 < differs.mean() < 0.6


def test_nct_val_shares_no_picture_with_nct(tmp_path):
    pictures = [write_layout(name, tmp_path / name, 9, 48, seed=0) for name in ('nct', 'nct-val')]
    names = [{Path(path).name for path in found} for found in pictures]
    assert not names[0] & names[1]
    assert sorted(path.parent.name for path in pictures[0]) == sorted(path.parent.name for path in pictures[1])
    images = [read_image(str(path)) for found in pictures for path in found]
    assert len({image.tobytes() for image in images}) == 18
