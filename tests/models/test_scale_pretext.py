"""ScalePretext against its formulas, one step after the other."""

import logging
import math

import pytest
import torch
from mmengine.structures import BaseDataElement

from histomm.functional.symmetries import dihedral, undo_dihedral
from histomm.models.selfsup import scale_pretext
from histomm.models.transfer import TransferError
from histomm.registry import MODELS

FULL = dict(
    type='histomm.ScalePretext',
    backbone=dict(type='histomm.ConfidenceNet', num_classes=1, channels=64, activation='relu'),
    classifier=dict(type='mmpretrain.ResNet', depth=34),
)


def build(**options):
    torch.manual_seed(0)
    small = dict(
        backbone=dict(type='histomm.ConfidenceNet', num_classes=1, dilations=(1, 2), activation='relu'),
        classifier=dict(type='mmpretrain.ResNet', depth=18),
    )
    return MODELS.build(FULL | small | options)


def samples(labels):
    made = []
    for number, label in enumerate(labels):
        made.append(BaseDataElement(metainfo=dict(img_path=f'{number}.png')))
        made[-1].set_field(torch.tensor([label]), 'gt_label')
    return made


@pytest.fixture
def images():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_parameters_are_those_of_the_paper():
    model = MODELS.build(FULL)
    assert sum(parameter.numel() for parameter in model.backbone.parameters()) == 445_825
    assert sum(parameter.numel() for parameter in model.parameters()) == 445_825 + 21_284_672 + 512 * 3 + 3


@pytest.mark.parametrize('seed', range(4))
def test_a_step_by_the_formulas(images, seed):
    model = build(smoothness_weight=0.5, equivariance_weight=2.0)
    torch.manual_seed(seed)
    index = scale_pretext.TURNS[int(torch.randint(6, ()))]
    normal = (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    attention = model.backbone(normal)
    ranked = attention.detach().flatten(1).sort(1, descending=True).values
    level = 0.9 * 0.5 + 0.1 * ranked[:, int(0.07 * 32 * 32)].mean()
    mask = 1 / (1 + torch.exp(-20 * (attention - level)))
    scores = model.scales(model.classifier(normal * mask)[-1].flatten(2).mean(2))
    chances = scores.detach().softmax(1)
    turned = 1 / (1 + torch.exp(-20 * (model.backbone(dihedral(normal, index)) - level)))
    torch.manual_seed(seed)
    labels = [0, 2, 1, 2]
    losses = model(images, samples(labels), mode='loss')
    expected = -sum(math.log(chances[row, label]) for row, label in enumerate(labels)) / 4
    assert losses['loss_scale'].item() == pytest.approx(expected, rel=1e-4)
    steps = (mask[..., 1:, :] - mask[..., :-1, :]).abs().mean() + (mask[..., 1:] - mask[..., :-1]).abs().mean()
    assert losses['loss_smoothness'].item() == pytest.approx(0.5 * steps.item(), rel=1e-4)
    apart = ((mask - undo_dihedral(turned, index)) ** 2).mean()
    assert losses['loss_equivariance'].item() == pytest.approx(2 * apart.item(), rel=1e-3)
    assert losses['level'].item() == pytest.approx(level.item(), rel=1e-5)
    assert losses['scale_top1'].item() == pytest.approx(100 * (scores.argmax(1) == torch.tensor(labels)).float().mean())
    assert losses['foreground'].item() == pytest.approx(mask.mean().item(), rel=1e-4)


def test_every_part_learns_from_the_scales_alone(images):
    model = build(smoothness_weight=0, equivariance_weight=0)
    model(images, samples([0, 1, 2, 1]), mode='loss')['loss_scale'].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_prediction_is_the_mask_at_the_level_that_was_learnt(images):
    model = build().eval()
    model.threshold.level.fill_(0.4)
    attention = model.backbone((images - model.mean) / model.std)
    for sample, mask in zip(model(images, mode='predict'), torch.sigmoid(20 * (attention - 0.4)), strict=True):
        torch.testing.assert_close(sample.confidence, mask)
    assert model.threshold.level == pytest.approx(0.4)
    assert 'threshold.level' in model.state_dict()


def test_labels_that_do_not_serve_are_named(images):
    model = build()
    with pytest.raises(ValueError, match='found an image of class 3, expected 0 to 2; put the tiles of each magnif'):
        model(images, samples([0, 1, 2, 3]), mode='loss')
    with pytest.raises(ValueError, match=r'image 0 has no gt_label; set with_labels=True in histomm\.PatchDataset'):
        model(images, mode='loss')
    with pytest.raises(ValueError, match='num_scales is 1, expected at least 2'):
        build(num_scales=1)


def test_classifier_starts_from_a_file(tmp_path):
    other = MODELS.build(dict(type='mmpretrain.ResNet', depth=18))
    torch.save(other.state_dict(), tmp_path / 'imagenet.pth')
    model = build(weights=str(tmp_path / 'imagenet.pth'))
    model.init_weights()
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.classifier.state_dict().items())
    wrong = build(weights=str(tmp_path / 'imagenet.pth'), classifier=dict(type='mmpretrain.ResNet', depth=34))
    with pytest.raises(TransferError):
        wrong.init_weights()


def test_a_file_that_is_missing_is_told(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(scale_pretext, 'print_log', lambda text, logger, level: told.append((text, level)))
    build(weights=str(tmp_path / 'none.pth')).init_weights()
    ((text, level),) = told
    assert f'found no {tmp_path / "none.pth"}, so the classifier starts at random' in text
    assert level == logging.WARNING
