"""The metric of confidence maps: its names, its means and what it refuses."""

import math

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from histomm.evaluation import ConfidenceMetric, clean_mask, dice, overlap_scores, overlap_terms, split_nuclei
from histomm.evaluation.confidence_metric import radii_of
from histomm.evaluation.confidence_scores import channel_scores
from histomm.registry import METRICS

SIZE = 32


def _image(number: int, labelled: bool = True) -> tuple[torch.Tensor, BaseDataElement]:
    """An image, and a data sample of three channels, of which the second is almost its labels."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:SIZE, :SIZE]
    labels = np.zeros((SIZE, SIZE), np.int32)
    for label, (row, column) in enumerate([(9, 9), (9, 23), (23, 12)][: number + 1], 1):
        labels[(y - row) ** 2 + (x - column) ** 2 <= 36] = label
    image = np.where(labels[..., None] > 0, [80, 60, 140], [230, 170, 200]) + rng.integers(-9, 9, (SIZE, SIZE, 3))
    confidence = np.stack([rng.random((SIZE, SIZE)), 0.1 + 0.8 * (np.roll(labels, 1) > 0), 0.9 - 0.8 * (labels > 0)])
    sample = BaseDataElement(metainfo=dict(img_path=f'image{number}.png'))
    sample.set_field(torch.from_numpy(confidence.astype(np.float32)), 'confidence')
    if labelled:
        sample.set_field(torch.from_numpy(labels), 'gt_instance_map')
    return torch.from_numpy(image.astype(np.uint8)).permute(2, 0, 1), sample


def _evaluate(images, **options):
    evaluator = Evaluator(METRICS.build(dict(type='histomm.ConfidenceMetric', **options)))
    for image, sample in images:
        evaluator.process([sample], {'inputs': [[image]]})  # as the loader collates one view of one image
    return evaluator.evaluate(len(images))


@pytest.fixture
def images():
    return [_image(number) for number in range(3)]


def test_every_name_is_the_mean_over_images(images):
    found = _evaluate(images)
    expected = [
        channel_scores(s.confidence.numpy(), i.permute(1, 2, 0).numpy(), s.gt_instance_map.numpy()) for i, s in images
    ]
    assert len(found) == 4 * 3
    for name in ('dice', 'dice_raw', 'entropy', 'haematoxylin'):
        for k in range(3):
            mean = np.mean([getattr(scores, name)[k] for scores in expected])
            assert found[f'nuclei/{name}_ch{k}'] == pytest.approx(mean)


def test_nothing_is_chosen_unless_asked_for(images):
    assert not [name for name in _evaluate(images) if 'channel' in name or 'label' in name]


def test_choices_say_what_they_were_made_with(images):
    found = _evaluate(images, choose=True)
    assert found['nuclei/channel_by_labels'] == found['nuclei/channel_label_free'] == 1
    assert found['nuclei/dice_channel_by_labels'] == found['nuclei/dice_ch1'] == found['nuclei/dice_channel_label_free']
    assert found['nuclei/dice_ch1'] > max(found['nuclei/dice_ch0'], found['nuclei/dice_ch2'])


def test_wrong_labels_change_the_choice_by_labels_alone(images):
    """Labels of all that is no nucleus: the choice that reads none stays."""
    for _, sample in images:
        sample.gt_instance_map = (sample.gt_instance_map == 0).int()
    found = _evaluate(images, choose=True)
    assert found['nuclei/channel_by_labels'] == 2
    assert found['nuclei/channel_label_free'] == 1
    assert found['nuclei/dice_channel_label_free'] == found['nuclei/dice_ch1']


def test_images_without_labels_get_what_needs_none():
    images = [_image(number, labelled=False) for number in range(2)]
    found = _evaluate(images, choose=True)
    assert not [name for name in found if 'dice' in name or 'by_labels' in name]
    assert found['nuclei/channel_label_free'] == 1
    assert math.isfinite(found['nuclei/haematoxylin_channel_label_free'])
    with pytest.raises(ValueError, match='1 of 2 images have labels, expected all or none'):
        _evaluate([_image(0), _image(1, labelled=False)])
    with pytest.raises(ValueError, match=r'image0.png: there are no labels'):
        _evaluate(images, channel=1)


def test_a_given_channel_is_scored_as_nuclei(images):
    found = _evaluate(images, channel=1)
    masks = [clean_mask(sample.confidence[1].numpy() > 0.5) for _, sample in images]
    truths = [sample.gt_instance_map.numpy() for _, sample in images]
    pairs = list(zip(truths, masks, strict=True))
    overlap = overlap_scores([overlap_terms(truth, split_nuclei(mask)) for truth, mask in pairs])
    assert found['nuclei/dice'] == pytest.approx(np.mean([dice(mask, truth) for truth, mask in pairs]))
    assert found['nuclei/dice'] == found['nuclei/dice_ch1']
    assert found['nuclei/dice_raw'] == found['nuclei/dice_raw_ch1']
    assert (found['nuclei/aji'], found['nuclei/pq']) == (pytest.approx(overlap.aji), pytest.approx(overlap.pq))
    assert found['nuclei/pq'] > 0.5
    other = _evaluate(images, channel=0)  # not the best of them
    assert other['nuclei/dice'] == other['nuclei/dice_ch0'] < found['nuclei/dice']
    assert other['nuclei/dice_raw'] == other['nuclei/dice_raw_ch0'] < found['nuclei/dice_raw']


def test_radii_of_the_morphology_reach_every_score(images):
    found = _evaluate(images, channel=1, radii=(5, 2))
    masks = [clean_mask(sample.confidence[1].numpy() > 0.5, (5, 2)) for _, sample in images]
    truths = [sample.gt_instance_map.numpy() for _, sample in images]
    assert found['nuclei/dice'] == pytest.approx(np.mean([dice(*pair) for pair in zip(masks, truths, strict=True)]))
    terms = [overlap_terms(truth, split_nuclei(mask)) for truth, mask in zip(truths, masks, strict=True)]
    assert found['nuclei/aji'] == pytest.approx(overlap_scores(terms).aji)
    default = _evaluate(images, channel=1)
    for name in ('dice', 'aji', 'haematoxylin_ch1'):
        assert found[f'nuclei/{name}'] != default[f'nuclei/{name}']


def test_radii_come_from_the_config():
    assert radii_of(None) == radii_of(dict(type='histomm.ConfidenceMetric')) == (3, 1)
    assert radii_of([dict(type='other'), dict(type='histomm.ConfidenceMetric', radii=[2, 1])]) == (2, 1)


@pytest.mark.parametrize('channel', [-1, 3])
def test_no_such_channel(images, channel):
    with pytest.raises(ValueError, match=rf'image0.png: channel is {channel}, expected 0 to 2'):
        _evaluate(images, channel=channel)


def test_batches_in_all_forms_give_the_same(images):
    expected = _evaluate(images)
    pixels, samples = zip(*images, strict=True)
    for inputs in ([list(pixels)], list(pixels), torch.stack(pixels), [torch.stack(pixels)]):
        metric = ConfidenceMetric()
        metric.process({'inputs': inputs}, [sample.to_dict() for sample in samples])
        assert metric.evaluate(3) == expected
    with pytest.raises(ValueError, match='found 2 views, expected 1'):
        ConfidenceMetric().process({'inputs': [list(pixels), list(pixels)]}, [s.to_dict() for s in samples])
