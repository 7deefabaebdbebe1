"""Label maps survive the way to COCO and back, holes and parts included."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coder
from pycocotools.coco import COCO

from histomm.datasets.coco import (
    ConversionError,
    Sample,
    annotation,
    build_coco,
    check_coco,
    read_label_map,
    split_objects,
    write_coco,
)


def ring() -> np.ndarray:
    """A square of 10x10 at (x 3, y 2) with a hole of 4x4: area 84."""
    mask = np.zeros((20, 30), bool)
    mask[2:12, 3:13] = True
    mask[5:9, 6:10] = False
    return mask


@pytest.fixture
def sample(tmp_path):
    """Id 1 with a hole, id 2 in two parts and one stray pixel, id 4 touching itself by a corner only."""
    labels = np.zeros((20, 30), np.uint8)
    labels[ring()] = 1
    labels[14:18, 0:5] = 2
    labels[14:18, 10:16] = 2
    labels[19, 29] = 2
    labels[0:4, 20:24] = 4
    labels[4:8, 24:28] = 4
    Image.fromarray(labels).save(tmp_path / 'a_anno.png')
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / 'a.png')
    return Sample(tmp_path / 'a.png', tmp_path / 'a_anno.png', 'a.png')


def test_annotation_by_hand():
    item = annotation(ring())
    assert (item['bbox'], item['area'], item['iscrowd']) == ([3, 2, 10, 10], 84, 0)
    assert (coder.decode(item['segmentation']) == ring()).all()
    json.dumps(item)


@pytest.mark.parametrize(
    ('split', 'areas'),
    [(True, [(1, 84), (2, 20), (2, 24), (2, 1), (4, 32)]), (False, [(1, 84), (2, 45), (4, 32)])],
)
def test_split_objects(sample, split, areas):
    found = [(i, int(mask.sum())) for i, mask in split_objects(read_label_map(sample.label), split)]
    assert sorted(found) == sorted(areas)


def test_objects_split_are_disjoint_and_complete():
    labels = np.random.default_rng(0).integers(0, 4, (40, 50))
    total = np.zeros(labels.shape, int)
    for instance_id, mask in split_objects(labels):
        assert (labels[mask] == instance_id).all()
        assert cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] == 2
        total += mask
    assert (total == (labels != 0)).all()


@pytest.mark.parametrize(('split', 'objects', 'left_out'), [(True, 4, [(2, 1)]), (False, 3, [])])
def test_file_decodes_to_its_source(sample, split, objects, left_out, tmp_path):
    coco, fragments = build_coco([sample], 'gland', split_disconnected=split, min_area=10)
    assert [(f.instance_id, f.area) for f in fragments] == left_out
    write_coco(coco, tmp_path / 'x' / 'a.json')
    check = check_coco(tmp_path / 'x' / 'a.json', [sample], fragments)
    assert check == (1, 0, objects, 1.0, 1.0)
    # A second reader: the COCO API draws the same label map.
    api, labels = COCO(tmp_path / 'x' / 'a.json'), read_label_map(sample.label)
    drawn = np.zeros_like(labels)
    for item in api.loadAnns(api.getAnnIds(imgIds=[1])):
        drawn[api.annToMask(item) > 0] = item['instance_id']
    labels[19, 29] = 0 if split else 2
    assert (drawn == labels).all()
    assert api.loadCats([1])[0]['name'] == 'gland'


def test_check_finds_what_is_wrong(sample, tmp_path):
    coco, fragments = build_coco([sample], 'gland')
    eroded = ring()
    eroded[2] = False
    wrong = json.loads(json.dumps(coco))
    wrong['annotations'][0] |= annotation(eroded)
    write_coco(wrong, tmp_path / 'a.json')
    with pytest.raises(ConversionError, match=r'annotation 1 decodes to IoU 0\.881'):  # (84 - 10) / 84
        check_coco(tmp_path / 'a.json', [sample], fragments)
    wrong = json.loads(json.dumps(coco))
    del wrong['annotations'][0]
    write_coco(wrong, tmp_path / 'a.json')
    with pytest.raises(ConversionError, match=r'84 foreground pixels of .*a_anno\.png'):
        check_coco(tmp_path / 'a.json', [sample], fragments)


def test_image_without_objects_stays(tmp_path):
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / 'm.png')
    sample = Sample(tmp_path / 'm.png', tmp_path / 'm.png', 'm.png')
    coco, fragments = build_coco([sample], 'gland')
    write_coco(coco, tmp_path / 'm.json')
    assert coco['images'] == [{'id': 1, 'file_name': 'm.png', 'width': 6, 'height': 5}]
    assert check_coco(tmp_path / 'm.json', [sample], fragments) == (1, 1, 0, 1.0, 1.0)


@pytest.mark.parametrize('mode', ['L', 'P', 'I;16', 'I'])
def test_modes_of_label_maps(mode, tmp_path):
    labels = np.arange(12).reshape(3, 4) * (200 if mode.startswith('I') else 10)
    dtype = {'I;16': np.uint16, 'I': np.int32}.get(mode, np.uint8)
    image = Image.fromarray(labels.astype(dtype))
    if mode == 'P':
        image = Image.new('P', (4, 3))
        image.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
        image.putdata(labels.ravel().tolist())
    path = tmp_path / ('m.tif' if mode == 'I' else 'm.png')
    image.save(path)
    assert (read_label_map(path) == labels).all()


def test_bad_files_are_named(sample, tmp_path):
    with pytest.raises(ConversionError, match=r'gone\.png is missing'):
        read_label_map(tmp_path / 'gone.png')
    with pytest.raises(ConversionError, match=r'a\.png is a label map of mode RGB'):
        read_label_map(sample.image)
    for path in (sample.label, sample.image):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ConversionError, match=rf'{path.name} cannot be read'):
            build_coco([sample], 'gland')
        path.write_bytes(whole)
    Image.fromarray(np.zeros((20, 29), np.uint8)).save(sample.label)
    with pytest.raises(ConversionError, match=r'a_anno\.png is 29x20, its image .*a\.png is 30x20'):
        build_coco([sample], 'gland')
