"""PatchContrast against a step written in loops, and what it does with batches that it can learn nothing from."""

from copy import deepcopy

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement
from tool_modules import load_tool

from histomm.datasets.synthetic import draw_patch
from histomm.functional import draw_patches
from histomm.registry import MODELS

loop = load_tool('tools/benchmarks/_patch_loop.py')
SIZE, STRIDE, NUM = 16, 8, 3


def build(num_classes=3, **options):
    """A small network over patches of 16 pixels; images are handed over as they are."""
    torch.manual_seed(1)
    return MODELS.build(
        dict(
            type='histomm.PatchContrast',
            backbone=dict(type='histomm.ConfidenceNet', num_classes=num_classes, dilations=(1, 2)),
            num_patches=NUM,
            patch_size=SIZE,
            patch_stride=STRIDE,
        )
        | options
    )


@pytest.fixture(scope='module')
def tissue():
    """(4, 3, 48, 40) drawn tissue with values from 0 to 1."""
    pictures = [draw_patch(kind, 64, index=index) for index, kind in enumerate(('TUM', 'LYM', 'STR', 'NORM'))]
    return torch.stack([torch.from_numpy(picture[:48, :40]).permute(2, 0, 1) / 255 for picture in pictures])


def drawn_by_hand(model, images, seed):
    """Rescaled images, confidences, and the windows and parities of a seed."""
    images = images * 0.95 + 0.05
    confidence = model.backbone(images)
    statistics = loop.statistics(confidence.detach(), SIZE, STRIDE)
    torch.manual_seed(seed)
    index, positive = draw_patches(*statistics, NUM)
    return images, confidence, index, positive, statistics


@pytest.mark.parametrize('similarity', ['mse', 'ce'])
def test_a_step_equals_the_one_written_in_loops(tissue, similarity):
    model = build(similarity=similarity, inter_weight=0.5)
    reference = deepcopy(model)
    images, confidence, index, positive, statistics = drawn_by_hand(reference, tissue, 7)
    intra, inter = loop.contrast(
        loop.cut(images, confidence, index, SIZE, STRIDE), positive.transpose(0, 1).flatten(1), similarity
    )
    torch.manual_seed(7)
    losses = model(tissue, mode='loss')
    assert losses['loss_intra'].item() == pytest.approx(sum(intra).item(), rel=1e-4)
    assert losses['loss_inter'].item() == pytest.approx(0.5 * sum(inter).item(), rel=1e-4)
    assert losses['terms'] == 6
    assert losses['empty'] == 0
    assert losses['positives'] == positive.sum()
    assert losses['entropy'].item() == pytest.approx(statistics[1].mean().item(), rel=1e-5)
    assert losses['confidence'].item() == pytest.approx(confidence.mean().item(), rel=1e-5)
    (losses['loss_intra'] + losses['loss_inter']).backward()
    (sum(intra) + 0.5 * sum(inter)).backward()
    for (name, found), expected in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert found.grad.abs().sum() > 0, name
        torch.testing.assert_close(found.grad, expected.grad, atol=1e-5, rtol=1e-3, msg=name)


def test_the_authors_normalisation_with_all_anchors_divides_by_the_images(tissue):
    losses = []
    for options in ({}, dict(repo_norm=True)):
        torch.manual_seed(7)
        losses.append(build(**options)(tissue, mode='loss'))
    for name in ('loss_intra', 'loss_inter'):
        torch.testing.assert_close(losses[1][name], losses[0][name] / 4)


def test_options_change_what_they_say(tissue):
    """Each alternative gives another loss of the same batch and draws than the default."""
    plain = build(num_patches=20)
    torch.manual_seed(7)
    expected = sum(value for name, value in plain(tissue, mode='loss').items() if 'loss' in name)
    for options in (
        dict(inter_log=False), dict(num_anchors=1), dict(sampler='uniform'), dict(sampler='topk', num_patches=5),
        dict(rescale=0.0), dict(drop_last_row=True), dict(similarity='ce'),
    ):  # fmt: skip
        model = build(**dict(num_patches=20) | options)
        torch.manual_seed(7)
        found = sum(value for name, value in model(tissue, mode='loss').items() if 'loss' in name)
        assert abs(found - expected) > 1e-4, options


def test_the_last_row_is_left_out_only_where_it_touches_the_border(tissue):
    """48 pixels have a window at 32, which ends at 48; of 47 the last one ends at 40."""
    for height, same in ((48, False), (47, True)):
        statistics = []
        for drop in (False, True):
            torch.manual_seed(7)
            statistics.append(build(drop_last_row=drop)(tissue[:, :, :height], mode='loss')['entropy'])
        assert torch.equal(*statistics) == same


def test_one_class_has_no_other_and_misses_nothing(tissue):
    losses = build(1, num_patches=8)(tissue, mode='loss')
    assert losses['loss_inter'] == 0
    assert losses['terms'] == 1
    assert losses['empty'] == 0


def certain(model, confidence):
    """Let every pixel have this confidence for each class."""
    model.backbone.classifier.weight.data.zero_()
    model.backbone.classifier.bias.data.copy_(torch.tensor(confidence).logit(eps=1e-9))
    return model


@pytest.mark.parametrize(
    ('confidence', 'empty', 'terms'),
    [
        ([0.0, 0.0, 0.0], 6, 0),
        ([1.0, 1.0, 1.0], 3, 3),
        ([1.0, 0.0, 0.0], 6, 0),
        ([0.5, 0.5, 0.0], 2, 4),
        ([0.5, 0.5, 1.0], 1, 5),
    ],
)
@pytest.mark.parametrize('policy', ['term', 'batch'])
def test_missing_terms_are_counted_and_left_out(tissue, confidence, empty, terms, policy):
    model = certain(build(empty=policy, num_patches=30), confidence)
    losses = model(tissue, mode='loss')
    assert losses['empty'] == empty
    assert losses['terms'] == (terms if policy == 'term' else 0)
    total = losses['loss_intra'] + losses['loss_inter']
    assert total.isfinite()
    assert (total != 0) == (losses['terms'] > 0)
    total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def step(model, images, wrapper):
    before = [parameter.clone() for parameter in model.parameters()]
    logged = model.train_step(dict(inputs=images, data_samples=None), wrapper)
    return logged, all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_a_batch_without_terms_changes_no_weight(tissue):
    model = build(num_patches=30)
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1))
    images = (tissue * 255).byte()
    logged, unchanged = step(model, images, wrapper)
    assert logged['terms'] == 6
    assert not unchanged  # and Adam has momentum now
    logged, unchanged = step(certain(model, [1.0, 0.0, 0.0]), images, wrapper)
    assert logged['empty'] == 6
    assert logged['loss'] == 0
    assert unchanged


def test_whole_batches_are_left_out_only_if_told(tissue):
    for policy, left_out in (('term', False), ('batch', True)):
        model = certain(build(empty=policy, num_patches=30), [0.5, 0.5, 1.0])
        _, unchanged = step(model, (tissue * 255).byte(), OptimWrapper(torch.optim.Adam(model.parameters())))
        assert unchanged == left_out


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_gives_finite_losses_in_float32(tissue, dtype):
    model = build(num_patches=8)
    with torch.autocast('cpu', dtype):
        losses = model(tissue, mode='loss')
    total = losses['loss_intra'] + losses['loss_inter']
    assert total.dtype == torch.float32
    total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


# ---- images as they should not be


def test_blank_images_are_counted_and_do_no_harm(tissue):
    model = build(num_patches=8)
    white = torch.ones_like(tissue)
    losses = model(white, mode='loss')
    assert losses['blank'] == 4
    (losses['loss_intra'] + losses['loss_inter']).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model(torch.cat((tissue, white[:1])), mode='loss')['blank'] == 1


@pytest.mark.parametrize(('value', 'found'), [(torch.nan, 'nan to nan'), (2.5, '0 to 2.5'), (-0.5, '-0.5 to')])
def test_values_out_of_range_are_named_with_their_file(value, found):
    images = torch.zeros(3, 3, 48, 40)
    images[1, 0, 4, 4] = value
    samples = [BaseDataElement(metainfo=dict(img_path=f'{name}.png')) for name in 'abc']
    with pytest.raises(ValueError, match=f'image b.png has values from {found}'):
        build()(images, samples, mode='loss')
    with pytest.raises(ValueError, match=f'image 1 has values from {found}'):
        build()(images)


def test_images_smaller_than_a_patch_and_several_views_are_named(tissue):
    with pytest.raises(ValueError, match='40×12 pixels is smaller than a patch of 16×16'):
        build()(tissue[:, :, :12], mode='loss')
    with pytest.raises(ValueError, match='found 2 views, expected 1'):
        build()([tissue, tissue], mode='loss')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(similarity='cosine'), "similarity is 'cosine', expected one of mse, ce"),
        (dict(sampler='best'), "sampler is 'best', expected one of probabilistic, uniform, topk"),
        (dict(empty='skip'), "empty is 'skip', expected one of term, batch"),
        (dict(num_patches=0), 'num_patches is 0'),
        (dict(num_anchors=0), 'num_anchors is 0'),
        (dict(rescale=1.0), 'rescale is 1'),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


# ---- what comes out


def test_predictions_are_the_confidences_of_rescaled_images(tissue):
    model = build().eval()
    samples = [BaseDataElement(metainfo=dict(img_path=str(number))) for number in range(4)]
    with torch.no_grad():
        expected = model.backbone(tissue * 0.95 + 0.05)
        torch.testing.assert_close(model(tissue), expected)
        found = model([tissue], samples, mode='predict')
        without = model(tissue, mode='predict')
    for number, maps in enumerate(expected):
        assert found[number].img_path == str(number)
        torch.testing.assert_close(found[number].confidence, maps)
        torch.testing.assert_close(without[number].confidence, maps)


def test_batch_statistics_in_evaluation_on_request(tissue):
    model = build(bn_batch_stats=True)
    with torch.no_grad():
        expected = deepcopy(model).train()(tissue)
        running = model.eval().state_dict()
        before = {name: value.clone() for name, value in running.items()}
        torch.testing.assert_close(model(tissue), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not torch.allclose(build().eval()(tissue), expected)


def test_an_unknown_mode_is_named(tissue):
    with pytest.raises(ValueError, match="mode is 'train'"):
        build()(tissue, mode='train')
