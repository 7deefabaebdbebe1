"""Patch contrast against loops written from the paper, numbers worked out by hand, and its own invariances."""

import math

import pytest
import torch
from tool_modules import load_tool

from histomm.functional import (
    draw_patches,
    gather_patches,
    patch_contrast_terms,
    patch_similarity,
    patch_statistics,
    window_grid,
)

loop = load_tool('tools/benchmarks/_patch_loop.py')


def random_maps(classes, size=(37, 45), batch=2, dtype=torch.float64):
    """Images and confidences in [0, 1]."""
    images = torch.rand(batch, 3, *size, dtype=dtype) * 0.95 + 0.05
    return images, torch.rand(batch, classes, *size, dtype=dtype).requires_grad_()


# ---- windows


def test_statistics_of_the_map_worked_out_by_hand():
    confidence = torch.tensor([[[[0.9, 0.5], [0.1, 1.0]]]])
    mean, entropy = patch_statistics(confidence, 2, 1)
    assert mean.shape == entropy.shape == (1, 1, 1)
    assert mean.item() == pytest.approx(0.625, abs=1e-6)
    assert entropy.item() == pytest.approx(0.484498, abs=1e-6)


@pytest.mark.parametrize(('size', 'stride'), [(2, 2), (7, 3), (10, 4), (6, 3), (5, 8), (37, 5)])
def test_statistics_equal_those_of_a_loop_over_windows(size, stride):
    confidence = torch.rand(2, 3, 37, 45, dtype=torch.float64)
    confidence[0, 0, :20] = 0
    confidence[1, 1, :, 9:] = 1
    found, expected = patch_statistics(confidence, size, stride), loop.statistics(confidence, size, stride)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_crop_of_300_has_13_by_13_windows_and_the_last_row_of_250_is_kept():
    assert window_grid(300, 300, 50, 20) == (13, 13)
    assert window_grid(250, 250, 50, 20) == (11, 11)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_statistics_of_half_precision_are_reckoned_in_float32(dtype):
    confidence = torch.rand(1, 2, 300, 300).to(dtype)
    for half, single in zip(
        patch_statistics(confidence, 50, 20), patch_statistics(confidence.float(), 50, 20), strict=True
    ):
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, single)


def test_gathered_windows_are_those_that_a_loop_cuts_out():
    images, confidence = random_maps(3)
    index = torch.randint(0, math.prod(window_grid(37, 45, 8, 5)), (2, 3, 4))
    patches = gather_patches(images, confidence, index, 8, 5)
    expected = torch.stack([torch.stack(patches) for patches in loop.cut(images, confidence, index, 8, 5)])
    assert patches.shape == (3, 2, 4, 8, 8, 3)
    torch.testing.assert_close(patches.flatten(1, 2).permute(0, 1, 4, 2, 3), expected)


# ---- draws


@pytest.mark.parametrize(
    ('sampler', 'weights'),
    [('probabilistic', [1.0, 0.5, 0.1, 0.001, 0.001]), ('uniform', [1.0, 1.0, 1.0, 1.0, 1.0])],
)
def test_windows_are_drawn_with_their_weights(sampler, weights):
    entropy = torch.tensor([0.0, 0.5, 0.9, 1.0, 1.2])
    number = 200_000
    index, _ = draw_patches(torch.full((1, 1, 5), 0.5), entropy[None, None], number, sampler)
    expected = torch.tensor(weights) / sum(weights)
    sigma = (expected * (1 - expected) / number).sqrt()
    assert ((index.flatten().bincount(minlength=5) / number - expected).abs() < 5 * sigma).all()


def test_topk_takes_the_most_certain_windows():
    entropy = torch.tensor([[[0.3, 0.1, 0.9, 0.2], [0.9, 0.8, 0.1, 0.7]]])
    index, _ = draw_patches(torch.zeros_like(entropy), entropy, 2, 'topk')
    assert index.tolist() == [[[1, 3], [2, 3]]]


def test_windows_are_positives_with_their_mean_confidence_and_a_window_is_so_once():
    mean = torch.tensor([0.0, 0.2, 0.7, 1.0 + 1e-6]).expand(20_000, 1, 4)
    index, positive = draw_patches(mean, torch.zeros_like(mean), 12)
    share = torch.stack([positive[index == window].float().mean() for window in range(4)])
    torch.testing.assert_close(share, torch.tensor([0.0, 0.2, 0.7, 1.0]), atol=0.02, rtol=0)
    for window in range(4):
        here = index == window
        some, every = (positive & here).any(-1), (positive | ~here).all(-1)
        assert torch.equal(some & here.any(-1), every & here.any(-1))


def test_draws_follow_the_generator_alone():
    statistics = torch.rand(2, 3, 3, 50)[0], torch.rand(3, 3, 50)
    draws = [draw_patches(*statistics, 10, generator=torch.Generator().manual_seed(seed)) for seed in (4, 4, 5)]
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[2][0])


# ---- similarities and losses

P, N, OTHER = [[0.2, 0.4], [0.3, 0.5]], [[0.9, 0.8], [0.7, 0.1]], [[0.6, 0.6]]


@pytest.mark.parametrize(
    ('kind', 'intra', 'inter', 'printed'),
    [('mse', 0.479911, -0.070000, -1.072857), ('ce', -0.105388, -0.206617, -1.233321)],
)
def test_losses_worked_out_by_hand(kind, intra, inter, printed):
    """Two positives, two negatives and one positive of another class, which has negatives of no matter."""
    patches = torch.tensor([P + N, [*OTHER, [0.1, 0.1], [0.2, 0.9], [0.3, 0.3]]], dtype=torch.float64)
    positive = torch.tensor([[True, True, False, False], [True, False, False, False]])
    terms = patch_contrast_terms(patches, positive, kind)
    assert terms.intra[0].item() == pytest.approx(intra, abs=1e-6)
    assert terms.inter[0].item() == pytest.approx(inter, abs=1e-6)
    assert patch_contrast_terms(patches, positive, kind, inter_log=False).inter[0].item() == pytest.approx(
        printed, abs=1e-6
    )


@pytest.mark.parametrize('kind', ['mse', 'ce'])
def test_similarities_equal_those_of_a_loop(kind):
    rows, columns = torch.rand(4, 9, dtype=torch.float64), torch.rand(5, 9, dtype=torch.float64)
    columns[0], columns[1] = 0, 1
    expected = torch.stack([torch.stack([loop.SIMILARITIES[kind](a, b) for b in columns]) for a in rows])
    torch.testing.assert_close(patch_similarity(rows, columns, kind), expected)


def check_equal(images, confidence, index, positive, size, stride, kind, inter_log, tolerance=1e-5):
    """Values and gradients of the losses against the loop's."""
    patches = gather_patches(images, confidence, index, size, stride)
    flags = positive.transpose(0, 1).flatten(1)
    terms = patch_contrast_terms(patches.flatten(3).flatten(1, 2), flags, kind, inter_log)
    expected = loop.contrast(loop.cut(images, confidence, index, size, stride), flags, kind, inter_log)
    found = ((terms.intra, terms.has_intra), (terms.inter, terms.has_inter))
    total = confidence.sum() * 0
    for (losses, present), theirs in zip(found, expected, strict=True):
        assert present.tolist() == [loss is not None for loss in theirs]
        total = total + sum(loss for loss in theirs if loss is not None)
        for ours, loss in zip(losses, theirs, strict=True):
            assert ours.item() == pytest.approx(0 if loss is None else loss.item(), abs=tolerance)
    (gradient,) = torch.autograd.grad(terms.intra.sum() + terms.inter.sum(), confidence)
    torch.testing.assert_close(gradient, torch.autograd.grad(total, confidence)[0], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('kind', ['mse', 'ce'])
@pytest.mark.parametrize(('classes', 'inter_log'), [(1, True), (2, False), (3, True), (4, False), (4, True)])
def test_losses_and_gradients_equal_those_of_a_loop(classes, inter_log, kind, dtype):
    size, stride, shape = {1: (8, 5, (8, 8)), 2: (9, 6, (21, 40)), 3: (12, 7, (37, 23)), 4: (10, 4, (31, 33))}[classes]
    images, confidence = random_maps(classes, shape, batch=3, dtype=dtype)
    index, positive = draw_patches(*patch_statistics(confidence, size, stride), 4)
    assert positive.any()
    assert not positive.all()
    check_equal(images, confidence, index, positive, size, stride, kind, inter_log)


EMPTY = {
    'no positive at all': [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    'no negative at all': [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
    'one class without positives': [[0, 0, 0], [1, 0, 0], [1, 1, 0]],
    'one class without negatives': [[1, 1, 1], [1, 0, 0], [0, 1, 0]],
    'positives in one class alone': [[0, 0, 0], [1, 1, 0], [0, 0, 0]],
}


@pytest.mark.parametrize('kind', ['mse', 'ce'])
@pytest.mark.parametrize('flags', EMPTY.values(), ids=EMPTY)
def test_empty_sets_leave_their_terms_out(flags, kind):
    images, confidence = random_maps(3, (20, 20), batch=1)
    index = torch.randint(0, 9, (1, 3, 3))
    for inter_log in (True, False):
        check_equal(images, confidence, index, torch.tensor([flags]) == 1, 8, 6, kind, inter_log)


def test_confidences_of_zero_and_one_stay_finite():
    images = torch.rand(1, 3, 12, 12)
    confidence = torch.zeros(1, 2, 12, 12)
    confidence[:, 1] = 1
    confidence.requires_grad_()
    positive = torch.tensor([[True, True, False], [True, False, False]])
    for kind in ('mse', 'ce'):
        patches = gather_patches(images, confidence, torch.tensor([[[0, 1, 2], [0, 1, 2]]]), 6, 3)
        terms = patch_contrast_terms(patches.flatten(3).flatten(1, 2), positive, kind)
        total = terms.intra.sum() + terms.inter.sum()
        assert total.isfinite()
        assert torch.autograd.grad(total, confidence)[0].isfinite().all()


def test_without_anchors_the_authors_scale_is_the_mean_over_images():
    patches, positive = torch.rand(3, 8, 5, dtype=torch.float64), torch.rand(3, 8) < 0.5
    paper = patch_contrast_terms(patches, positive)
    code = patch_contrast_terms(patches, positive, num_images=4)
    torch.testing.assert_close(code.intra, paper.intra / 4)
    torch.testing.assert_close(code.inter, paper.inter / 4)


def naive_anchors(patches, positive, anchors, num_images):
    """The intra-class loss of one class as the authors' code sums it, over given anchors."""
    total = 0.0
    for r in anchors:
        denominator = loop.log_sum(loop.mse(patches[r], n) for n in patches[~positive])
        total += sum(-loop.mse(patches[r], p) + denominator for p in patches[positive])
    return total / len(anchors) ** 2 / num_images


def test_one_anchor_is_one_of_the_positives_alone_and_many_tend_to_all():
    patches = torch.rand(1, 7, 5, dtype=torch.float64)
    positive = torch.tensor([[True, False, True, True, False, False, False]])
    single = {round(naive_anchors(patches[0], positive[0], [anchor], 3).item(), 9): anchor for anchor in (0, 2, 3)}
    seen = set()
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        terms = patch_contrast_terms(patches, positive, num_anchors=1, num_images=3, generator=generator)
        seen.add(single[round(terms.intra.item(), 9)])
    assert seen == {0, 2, 3}
    many = patch_contrast_terms(patches, positive, num_anchors=100_000).intra
    torch.testing.assert_close(many, patch_contrast_terms(patches, positive).intra, atol=1e-2, rtol=0)
    twice = patch_contrast_terms(patches, positive, num_anchors=100_000, num_images=2).intra
    torch.testing.assert_close(twice, many * 3 / 100_000 / 2, atol=1e-6, rtol=1e-2)


def test_anchors_of_an_empty_class_do_no_harm():
    patches, positive = torch.rand(2, 3, 5, requires_grad=True), torch.tensor([[False] * 3, [True, False, False]])
    terms = patch_contrast_terms(patches, positive, num_anchors=4)
    assert terms.has_intra.tolist() == [False, True]
    assert torch.autograd.grad(terms.intra.sum(), patches)[0].isfinite().all()


def test_neither_the_order_of_patches_nor_of_classes_matters():
    patches, positive = torch.rand(3, 8, 5, dtype=torch.float64), torch.rand(3, 8) < 0.5
    terms = patch_contrast_terms(patches, positive, 'ce')
    order, kinds = torch.randperm(8), torch.tensor([2, 0, 1])
    turned = patch_contrast_terms(patches[kinds][:, order], positive[kinds][:, order], 'ce')
    for found, expected in zip(turned, terms, strict=True):
        torch.testing.assert_close(found, expected[kinds])


def test_under_autocast_and_in_half_precision_it_is_reckoned_in_float32():
    images, confidence = random_maps(2, dtype=torch.float32)
    confidence = confidence.detach().bfloat16().requires_grad_()
    index, positive = torch.randint(0, 9, (2, 2, 5)), torch.rand(2, 10) < 0.5
    for kind in ('mse', 'ce'):
        totals = []
        for maps, enabled in ((confidence, True), (confidence.float(), False)):
            with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
                patches = gather_patches(images, maps, index, 12, 10).flatten(3).flatten(1, 2)
                terms = patch_contrast_terms(patches, positive, kind)
            totals.append(terms.intra.sum() + terms.inter.sum())
        assert totals[0].dtype == torch.float32
        torch.testing.assert_close(*totals)
        gradient = torch.autograd.grad(totals[0], confidence)[0]
        assert gradient.dtype == torch.bfloat16
        assert gradient.isfinite().all()


# ---- wrong arguments


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: patch_statistics(torch.zeros(2, 9, 9), 3, 1), r'shape \(2, 9, 9\), expected \(B, K, H, W\)'),
        (lambda: patch_statistics(torch.zeros(1, 1, 40, 60), 50, 20), '60×40 pixels is smaller than a patch of 50×50'),
        (lambda: patch_statistics(torch.zeros(1, 1, 9, 9), 3, 0), 'every 0 pixels'),
        (lambda: draw_patches(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4), 2, 'best'), "sampler is 'best'"),
        (lambda: draw_patches(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4), 5, 'topk'), '5 patches of 4 windows'),
        (lambda: draw_patches(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4), 0), '0 patches of 4 windows'),
        (lambda: draw_patches(torch.full((1, 1, 4), torch.nan), torch.zeros(1, 1, 4), 2), 'confidence holds NaN'),
        (
            lambda: gather_patches(torch.zeros(1, 3, 9, 9), torch.zeros(1, 2, 9, 8), torch.zeros(1, 2, 4).long(), 3, 1),
            r'images have shape \(1, 3, 9, 9\), confidence \(1, 2, 9, 8\)',
        ),
        (lambda: patch_similarity(torch.zeros(2, 3), torch.zeros(2, 4)), r'shapes \(2, 3\) and \(2, 4\)'),
        (lambda: patch_similarity(torch.zeros(2, 3), torch.zeros(2, 3), 'l1'), "similarity is 'l1'"),
        (lambda: patch_contrast_terms(torch.zeros(2, 3, 4), torch.ones(2, 4) > 0), r'positive \(2, 4\)'),
        (lambda: patch_contrast_terms(torch.zeros(2, 3, 4), torch.ones(2, 3) > 0, num_anchors=0), 'num_anchors is 0'),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
