"""Drawn nuclei: whether the truth lies on them, and the layouts of MoNuSeg and CoNSeP."""

import io
import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import scipy.io
from PIL import Image

from histomm.datasets.patients import tcga_participant
from histomm.datasets.synthetic import LAYOUTS, draw_nuclei, write_layout


@pytest.fixture(scope='module')
def drawn():
    return [draw_nuclei((240, 203), 0, patient, patient) for patient in range(4)]


def test_sizes_numbers_and_determinism(drawn):
    for index, field in enumerate(drawn):
        assert field.image.shape == (203, 240, 3)
        assert field.image.dtype == np.uint8
        assert field.labels.shape == (203, 240)
        assert np.unique(field.labels).tolist() == list(range(len(field.outlines) + 1))
        assert len(field.types) == len(field.outlines) > 15
        assert set(field.types.tolist()) <= {2, 4, 5}
        assert draw_nuclei((240, 203), 0, index, index).image.tobytes() == field.image.tobytes()
    assert {code for field in drawn for code in field.types.tolist()} == {2, 4, 5}


def test_nuclei_are_darker_than_their_surroundings_where_the_truth_says(drawn):
    exact, moved = [], []
    for field in drawn:
        red = field.image[..., 0].astype(float)
        inside = field.labels > 0
        around = (cv2.dilate(inside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0) & ~inside
        exact.append(red[around].mean() - red[inside].mean())
        for shift in ((6, 0), (-6, 0), (0, 6), (0, -6)):
            moved.append(red[np.roll(around, shift, (0, 1))].mean() - red[np.roll(inside, shift, (0, 1))].mean())
    assert min(exact) > 25
    assert np.mean(moved) < 0.6 * np.mean(exact)


def test_outlines_close_around_the_labels(drawn):
    """Every visible pixel of a nucleus is inside its outline or on it."""
    for field in drawn:
        for number, outline in enumerate(field.outlines, 1):
            rows, columns = np.nonzero(field.labels == number)
            low, high = outline.min(0), outline.max(0)
            assert low.min() >= -2
            assert (high - (240, 203)).max() <= 1
            assert low[0] <= columns.min()
            assert columns.max() <= high[0]
            assert low[1] <= rows.min()
            assert rows.max() <= high[1]
            polygon = outline.astype(np.float32)
            spots = list(zip(columns.tolist(), rows.tolist(), strict=True))
            assert all(cv2.pointPolygonTest(polygon, spot, False) >= 0 for spot in spots)


def test_monuseg_files(tmp_path):
    pictures = write_layout('monuseg', tmp_path, 5, (64, 50), 3)
    folders = {path.parent.relative_to(tmp_path).as_posix() for path in pictures}
    assert folders == {'MoNuSeg 2018 Training Data/Tissue Images', 'MoNuSegTestData'}
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*.xml')}
    stems = {path.stem for path in pictures}
    assert {re.sub(r'^(MoNuSeg 2018 Training Data/Annotations|MoNuSegTestData)/', '', name) for name in files} == {
        f'{stem}.xml' for stem in stems
    }
    assert len({tcga_participant(stem) for stem in stems}) == 5
    for path in pictures:
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((64, 50), 'RGB')
    regions = [len(list(ElementTree.parse(path).iter('Region'))) for path in tmp_path.rglob('*.xml')]
    assert sum(regions) > 5


def test_consep_files(tmp_path):
    pictures = write_layout('consep', tmp_path, 3, (64, 50), 3)
    assert {path.relative_to(tmp_path).as_posix() for path in pictures} == {
        'Train/Images/train_1.png',
        'Train/Images/train_2.png',
        'Test/Images/test_1.png',
    }
    with Image.open(pictures[0]) as image:
        assert (image.size, image.mode) == ((64, 50), 'RGBA')
        assert np.asarray(image)[..., 3].min() == 255
    content = scipy.io.loadmat(io.BytesIO((tmp_path / 'Train/Labels/train_1.mat').read_bytes()))
    assert content['inst_map'].dtype == float
    assert ((content['type_map'] > 0) == (content['inst_map'] > 0)).all()
    for number, code in enumerate(content['inst_type'][:, 0], 1):
        assert (content['type_map'][content['inst_map'] == number] == code).all()
    assert (tmp_path / 'Test/Overlay/test_1.png').is_file()


def test_official_counts_and_sizes():
    for name, train, test in (('monuseg', 37, 14), ('consep', 27, 14)):
        paths = [paths[0] for paths, _ in LAYOUTS[name].pictures(train + test, (64, 64), 0)]
        assert sum('Test' in path for path in paths) == test
        assert len(set(paths)) == train + test
        assert LAYOUTS[name].size == (1000, 1000)


def test_no_barcode_is_of_two_drawn_sets():
    names = {
        layout: {tcga_participant(paths[0]) for paths, _ in LAYOUTS[layout].pictures(60, (64, 64), 0)}
        for layout in ('bcss', 'monuseg')
    }
    assert not names['bcss'] & names['monuseg']
