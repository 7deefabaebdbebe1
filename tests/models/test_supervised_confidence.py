"""Cross-entropy of pixels by the formula, and what all models of confidence share."""

import math

import pytest
import torch
from mmengine.structures import BaseDataElement

from histomm.functional.symmetries import dihedral, undo_dihedral
from histomm.models.confidence_model import ConfidenceModel
from histomm.registry import MODELS


def build(num_classes=1, **options):
    torch.manual_seed(0)
    backbone = dict(type='histomm.ConfidenceNet', num_classes=num_classes, dilations=(1, 2))
    return MODELS.build(dict(type='histomm.SupervisedConfidence', backbone=backbone) | options)


def samples(masks):
    made = []
    for number, mask in enumerate(masks):
        made.append(BaseDataElement(metainfo=dict(img_path=f'{number}.png')))
        made[-1].set_field(mask, 'gt_mask')
    return made


def test_parameters_are_those_of_the_paper_with_one_class():
    model = MODELS.build(
        dict(type='histomm.SupervisedConfidence', backbone=dict(type='histomm.ConfidenceNet', num_classes=1))
    )
    assert sum(parameter.numel() for parameter in model.parameters()) == 7345


def test_loss_is_the_mean_cross_entropy_of_the_pixels():
    model = build().eval()
    images, masks = torch.rand(2, 3, 8, 6), torch.rand(2, 8, 6) > 0.7
    losses = model(images, samples(masks), mode='loss')
    confidence = model(images)
    expected = 0.0
    for number in range(2):
        for row in range(8):
            for column in range(6):
                c = confidence[number, 0, row, column].item()
                expected -= math.log(c if masks[number, row, column] else 1 - c) / 96
    assert losses['loss'].item() == pytest.approx(expected, rel=1e-5)
    assert losses['confidence'].item() == pytest.approx(confidence.mean().item(), rel=1e-5)
    assert losses['foreground'].item() == pytest.approx(masks.float().mean().item())
    assert losses['blank'] == 0


def test_it_learns_which_pixels_are_dark():
    model = build()
    images = torch.rand(4, 1, 24, 24).repeat(1, 3, 1, 1)
    masks = images[:, 0] < 0.4
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        model(images, samples(masks), mode='loss')['loss'].backward()
        optimizer.step()
    assert ((model(images)[:, 0] > 0.5) == masks).float().mean() > 0.9


def test_a_mask_that_is_missing_is_named():
    model = build()
    images = torch.rand(2, 3, 8, 8)
    given = samples(torch.zeros(2, 8, 8, dtype=torch.bool))
    del given[1].gt_mask
    with pytest.raises(ValueError, match=r'SupervisedConfidence: image 1\.png has no gt_mask; use histomm\.Nuclei'):
        model(images, given, mode='loss')
    with pytest.raises(ValueError, match='image 0 has no gt_mask'):
        model(images, mode='loss')


def test_several_classes_do_not_fit_a_mask():
    with pytest.raises(ValueError, match=r'confidences have shape \(2, 3, 8, 8\), .* set num_classes=1'):
        build(3)(torch.rand(2, 3, 8, 8), samples(torch.zeros(2, 8, 8, dtype=torch.bool)), mode='loss')


def test_prediction_is_the_mean_over_the_symmetries():
    model = build(2, symmetries=8).eval()
    images = torch.rand(2, 3, 8, 12)
    plain = [undo_dihedral(model(dihedral(images, index)), index) for index in range(8)]
    predicted = model(images, mode='predict')
    expected = torch.stack(plain).mean(0)
    assert not torch.allclose(plain[0], plain[1], atol=1e-4)
    for sample, maps in zip(predicted, expected, strict=True):
        torch.testing.assert_close(sample.confidence, maps)
    turned = model(dihedral(images, 3), mode='predict')
    torch.testing.assert_close(turned[1].confidence, dihedral(expected[1], 3))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(symmetries=4), 'SupervisedConfidence: symmetries is 4, expected 1 or 8'),
        (dict(rescale=1), r'SupervisedConfidence: rescale is 1, expected a value in \[0, 1\)'),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_bad_input_is_named():
    model = build()
    assert isinstance(model, ConfidenceModel)
    with pytest.raises(ValueError, match=r'image 1 has values from 0 to 255, expected 0 to 1'):
        model(torch.stack([torch.zeros(3, 8, 8), torch.linspace(0, 255, 192).view(3, 8, 8)]))
    with pytest.raises(ValueError, match='found 2 views, expected 1'):
        model([torch.zeros(1, 3, 8, 8)] * 2)
    with pytest.raises(ValueError, match="mode is 'test', expected 'tensor', 'loss' or 'predict'"):
        model(torch.zeros(1, 3, 8, 8), mode='test')
