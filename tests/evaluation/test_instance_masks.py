"""Masks in all their forms to label maps."""

import json

import numpy as np
import pytest
import torch
from drawn_labels import ellipses, masks_of, squares

from histomm.datasets.coco import annotation
from histomm.evaluation.instance_masks import CocoGroundTruth, decode_masks, predicted_label_map, true_label_map

SHAPE = (40, 60)
BOXES = [(2, 3, 10, 20), (20, 30, 7, 9)]
MASKS = np.stack([squares(box) > 0 for box in BOXES])


def run_lengths(masks):
    return [annotation(mask)['segmentation'] for mask in masks]


def uncompressed(mask):
    """Run lengths as COCO's crowds have them: column by column, background first."""
    columns = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], columns.astype(int), [1 - columns[-1]]])))
    return {'size': list(mask.shape), 'counts': np.diff(np.concatenate([[0], edges])).tolist()}


def polygons(box):
    top, left, height, width = box
    bottom, right = top + height, left + width
    return [[left, top, right, top, right, bottom, left, bottom]]


def bitmap_masks():
    return pytest.importorskip('mmdet.structures.mask', exc_type=ImportError).BitmapMasks(
        MASKS.astype(np.uint8), *SHAPE
    )


FORMS = {
    'array': lambda: MASKS,
    'tensor': lambda: torch.from_numpy(MASKS),
    'list of arrays': lambda: list(MASKS.astype(np.uint8)),
    'run lengths': lambda: run_lengths(MASKS),
    'run lengths in bytes': lambda: [{**rle, 'counts': rle['counts'].encode()} for rle in run_lengths(MASKS)],
    'uncompressed run lengths': lambda: [uncompressed(mask) for mask in MASKS],
    'polygons': lambda: [polygons(box) for box in BOXES],
    'BitmapMasks': bitmap_masks,
}


@pytest.mark.parametrize('form', FORMS)
def test_all_forms_give_the_same(form):
    masks = FORMS[form]()
    assert np.array_equal(list(decode_masks(masks, SHAPE)), MASKS)
    scores = np.array([0.6, 0.9])
    expected = np.where(MASKS[1], 1, 2 * MASKS[0])
    assert np.array_equal(predicted_label_map(masks, scores, 0.5, SHAPE), expected)
    assert np.array_equal(predicted_label_map(masks, scores, 0.7, SHAPE), MASKS[1])
    assert not predicted_label_map(masks, scores, 0.95, SHAPE).any()
    assert np.array_equal(true_label_map(masks, SHAPE)[0], MASKS[0] + 2 * MASKS[1])


def test_odd_outlines_come_through():
    masks = masks_of(ellipses(1))
    assert np.array_equal(list(decode_masks(run_lengths(masks), (61, 87))), masks)


def test_a_pixel_belongs_to_the_best_score():
    masks = np.stack([squares((0, 0, 10, 10)) > 0, squares((0, 5, 10, 10)) > 0, squares((0, 8, 4, 2)) > 0])
    labels = predicted_label_map(masks, np.array([0.5, 0.8, 0.6]), 0.5, SHAPE)
    assert np.array_equal(labels == 1, masks[1])
    assert not (labels == 2).any(), 'the third lies under the second'
    assert np.array_equal(labels == 3, masks[0] & ~masks[1])


def test_equal_scores_keep_their_order():
    masks = np.stack([squares((0, 0, 10, 10)) > 0, squares((0, 5, 10, 10)) > 0])
    labels = predicted_label_map(masks, np.array([0.7, 0.7], np.float32), 0.7, SHAPE)
    assert np.array_equal(labels == 1, masks[0])


@pytest.mark.parametrize('masks', [np.zeros((0, *SHAPE), bool), torch.zeros(0, *SHAPE), []], ids=type)
def test_no_objects(masks):
    assert not predicted_label_map(masks, np.zeros(0), 0.5, SHAPE).any()
    assert not true_label_map(masks, SHAPE)[0].any()


def test_annotated_objects_inside_others_are_kept():
    masks = [squares((5, 5, 4, 4)) > 0, squares((0, 0, 20, 20)) > 0, squares((5, 5, 4, 4)) > 0]
    labels, hidden = true_label_map(masks, SHAPE)
    assert hidden == [0]
    assert np.array_equal(labels == 3, masks[2])
    assert np.array_equal(labels == 2, masks[1] & ~masks[2])


def test_mask_of_another_size():
    with pytest.raises(ValueError, match=r'a mask is \(40, 60\), expected the original size of its image, \(60, 40\)'):
        list(decode_masks(run_lengths(MASKS), (60, 40)))


# ---- annotation files


def item(number, mask, image_id=7, category_id=1, **more):
    return {'id': number, 'image_id': image_id, 'category_id': category_id, **annotation(mask), **more}


@pytest.fixture
def coco(tmp_path):
    def write(annotations, categories=('gland', 'lumen')):
        content = {
            'images': [{'id': 7, 'height': 40, 'width': 60}, {'id': 8, 'height': 5, 'width': 6}],
            'categories': [{'id': i, 'name': name} for i, name in enumerate(categories, 1)],
            'annotations': annotations,
        }
        (tmp_path / 'a.json').write_text(json.dumps(content))
        return CocoGroundTruth(tmp_path / 'a.json')

    return write


def test_annotation_file_by_class_and_crowd(coco):
    crowd = squares((30, 0, 5, 5)) > 0
    truth = coco([item(1, MASKS[0]), item(2, MASKS[1], category_id=2), item(3, crowd, iscrowd=1)])
    for classes, expected in ((None, MASKS), (('gland',), MASKS[:1]), (('lumen', 'nerve'), MASKS[1:])):
        found = truth(7, SHAPE, classes)
        assert np.array_equal(list(decode_masks(found.masks, SHAPE)), expected)
        assert len(found.void) == (classes != ('lumen', 'nerve'))
    assert truth(8, (5, 6), None) == ([], [])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((9, SHAPE, None), 'has no image of id 9; is it the file of another split'),
        ((7, (60, 40), None), r'image 7 is \(40, 60\), the one given \(60, 40\)'),
        ((7, SHAPE, ['nerve']), r"has categories \['gland', 'lumen'\], expected one of \['nerve'\]"),
    ],
)
def test_annotation_file_that_does_not_fit(coco, arguments, message):
    with pytest.raises(ValueError, match=message):
        coco([])(*arguments)


def test_annotation_without_a_mask(coco):
    with pytest.raises(ValueError, match=r'a.json: annotation 4 has no segmentation'):
        coco([item(4, MASKS[0], segmentation=[])])


def test_annotation_of_no_image(coco):
    with pytest.raises(ValueError, match=r'a.json: annotation 4 is of image 99, which is not there'):
        coco([item(4, MASKS[0], image_id=99)])


def test_file_that_is_not_coco(tmp_path):
    (tmp_path / 'b.json').write_text('{"images": []}')
    with pytest.raises(ValueError, match=r'b.json has no images or no annotations'):
        CocoGroundTruth(tmp_path / 'b.json')
