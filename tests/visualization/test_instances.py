"""Outlines where the mask has its edge, and COCO files written by hand."""

import json

import numpy as np
import pytest

from histomm.visualization.colors import BLUE, CYCLE, rgb
from histomm.visualization.instances import decode_masks, draw_outlines, read_coco, read_predictions


def test_outline_is_on_the_edge_and_nowhere_else():
    image = np.full((60, 60, 3), 90, np.uint8)
    mask = np.zeros((60, 60), bool)
    mask[20:40, 10:50] = True
    drawn = draw_outlines(image, [mask], BLUE, width=2)
    assert (image == 90).all()
    for y, x in ((20, 30), (39, 30), (30, 10), (30, 49)):
        assert tuple(drawn[y, x]) == rgb(BLUE)
    assert (drawn[26:34, 16:44] == 90).all()
    outside = np.ones((60, 60), bool)
    outside[15:45, 5:55] = False
    assert (drawn[outside] == 90).all()


def test_holes_are_outlined():
    mask = np.zeros((60, 60), bool)
    mask[5:55, 5:55] = True
    mask[25:35, 25:35] = False
    drawn = draw_outlines(np.zeros((60, 60, 3), np.uint8), [mask], BLUE)
    assert tuple(drawn[24, 30]) == rgb(BLUE)


def test_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match='expected'):
        draw_outlines(np.zeros((4, 5, 3), np.uint8), [np.zeros((5, 4), bool)], BLUE)


def test_colours_differ():
    assert len({rgb(color) for color in CYCLE}) == len(CYCLE)


def test_coco_files(tmp_path):
    coder = pytest.importorskip('pycocotools.mask')
    mask = np.zeros((8, 9), bool)
    mask[2:5, 3:7] = True
    rle = coder.encode(np.asfortranarray(mask.astype(np.uint8)))
    rle['counts'] = rle['counts'].decode()
    annotations = tmp_path / 'ann.json'
    images = [{'id': 7, 'file_name': 'a.bmp'}, {'id': 8, 'file_name': 'b.bmp'}]
    annotations.write_text(json.dumps({'images': images, 'annotations': [{'image_id': 8, 'segmentation': rle}]}))
    first, second = read_coco(annotations)
    assert (first.image_id, first.file_name, first.annotations) == (7, 'a.bmp', [])
    np.testing.assert_array_equal(decode_masks(second.annotations)[0], mask)

    results = tmp_path / 'test.segm.json'
    scores = [(7, 0.3), (8, 0.6), (8, 0.9)]
    results.write_text(json.dumps([{'image_id': i, 'score': s, 'segmentation': rle} for i, s in scores]))
    found = read_predictions(results, min_score=0.5)
    assert {key: [item['score'] for item in value] for key, value in found.items()} == {8: [0.9, 0.6]}
