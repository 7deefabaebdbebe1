"""SLPD's loss against loops written from the paper, its options, and what becomes of regions without prototypes."""

import copy

import pytest
import torch
import torch.distributed as dist
from distributed import run_two_processes
from mmengine.structures import BaseDataElement
from test_dino import gradients, head, naive
from torch import nn

from histomm.registry import MODELS

WIDTHS = dict(in_channels=12, hid_channels=10, bottleneck_channels=6, out_channels=9)
OWN, OTHERS = [2, 0, -1, 1, 3, 0], [[1, 3], [3, 1], [-1, -1], [2, 0], [0, 2], [1, 1]]
"""Of six regions: the row of its own prototype, and of those of two neighbours; the third has none."""


def build(**options):
    config = dict(
        type='histomm.SLPD',
        backbone=dict(type='histomm.CropsForTests'),
        neck=dict(type='histomm.DINONeck', **WIDTHS),
        num_neighbors=2,
        end_momentum=None,
        momentum=0.8,
    )
    torch.manual_seed(3)
    model = MODELS.build(config | options)
    model.init_weights()
    for linear in (part for part in model.neck.mlp if isinstance(part, nn.Linear)):
        nn.init.normal_(linear.weight, std=0.4)  # so that outputs differ by more than rounding
    model = model.double()
    give(model)
    return model


def give(model, own=OWN, others=OTHERS):
    """Four prototypes, as long as the options want them."""
    generator = torch.Generator().manual_seed(8)
    rows = torch.randn(4, 6 if model.feat == 'bottleneck' else 12, generator=generator).double()
    rows = nn.functional.normalize(rows, dim=1) if model.feat == 'bottleneck' else rows
    model.bank.replace(rows, torch.tensor(own), torch.tensor(others), 0)
    model.bank.supplied = True
    return rows


def batch(regions, seed=5, sides=(16, 16, 8, 8, 8)):
    """Views of regions, the same ones whatever batch a region is in."""

    def region(number, side):
        generator = torch.Generator().manual_seed(100 * seed + 10 * number + side)
        return torch.randn(5, 3, side, side, generator=generator).double()

    views = [torch.stack([region(n, side)[v] for n in regions]) for v, side in enumerate(sides)]
    return views, [BaseDataElement(metainfo=dict(sample_idx=n)) for n in regions]


def by_hand(model, regions, seed=5, center=None, skip=0):
    """L_intra, L_inter and the mean of the teacher's outputs, prototype by prototype and view by view."""
    views, _ = batch(regions, seed)
    backbone, neck, teacher = model.backbone, model.neck, model.teacher.module['neck']
    center = torch.zeros(9).double() if center is None else center
    sums, counts, outputs = [0, 0], [0, 0], []
    for b, region in enumerate(regions):
        for kind, rows in enumerate(([OWN[region]], OTHERS[region])):
            for row in rows:
                if row < 0:
                    continue
                c = model.bank.rows[row]
                with torch.no_grad():
                    if model.feat == 'bottleneck':
                        t = torch.stack([w @ c / w.norm() for w in teacher.last_layer.weight])
                    else:
                        t = head(teacher, c)
                outputs.append(t)
                p = torch.exp((t - center) / 0.04)
                p = p / p.sum()
                for view in views[skip:]:
                    s = head(neck, backbone.conv(view[b : b + 1])[0].tanh().mean((1, 2))) / 0.1
                    sums[kind] = sums[kind] - (p * (s - torch.log(torch.exp(s).sum()))).sum() / len(views[skip:])
                counts[kind] += 1
    return [total / max(count, 1) for total, count in zip(sums, counts, strict=True)], outputs


@pytest.mark.parametrize('feat', ['bottleneck', 'cls'])
def test_two_steps_are_those_of_the_paper(feat):
    """Losses, gradients and both centres; a region without prototype is in each batch."""
    model = build(feat=feat, alpha_intra=0.5, alpha_inter=2.0)
    center, own_center = torch.zeros(9).double(), torch.zeros(9).double()
    for step, regions in enumerate(([0, 1, 2, 3], [5, 2, 4, 4])):
        views, samples = batch(regions, step)
        losses = model.loss(views, samples)
        twin = copy.deepcopy(model)
        (intra, inter), outputs = by_hand(twin, regions, step, own_center)
        torch.testing.assert_close(losses['loss_intra'], 0.5 * intra)
        torch.testing.assert_close(losses['loss_inter'], 2 * inter)
        teacher = (twin.teacher.module['backbone'], twin.teacher.module['neck'])
        itself, mean = naive((twin.backbone, twin.neck), teacher, center, views)
        torch.testing.assert_close(losses['loss_self'], itself)
        wanted = gradients(twin, itself + 0.5 * intra + 2 * inter)
        got = gradients(model, sum(losses.values()))
        assert got.keys() == wanted.keys()
        assert not any(name.startswith('teacher') for name in got)
        for name, grad in got.items():
            torch.testing.assert_close(grad, wanted[name], msg=name)
        center = 0.9 * center + 0.1 * mean
        own_center = 0.9 * own_center + 0.1 * torch.stack(outputs).mean(0)
        torch.testing.assert_close(model.center, center)
        torch.testing.assert_close(model.prototype_center, own_center)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(0.3 * parameter.grad) if parameter.grad is not None else None


def test_a_centre_that_is_shared_is_that_of_dino():
    model = build(separate_center=False)
    model.loss(*batch([0, 1, 2]))
    center = model.center.clone()
    assert center.any()
    losses = model.loss(*batch([3, 4, 5], 6))
    # DINO's centre has followed the large crops before prototypes are centred
    (intra, inter), _ = by_hand(model, [3, 4, 5], 6, model.center)
    torch.testing.assert_close(losses['loss_intra'], intra)
    torch.testing.assert_close(losses['loss_inter'], inter)
    assert not model.prototype_center.any()


def test_the_centre_of_prototypes_by_numbers():
    """0.9 of the centre and 0.1 of the outputs; rows that are not present have no say."""
    model = build(neck=dict(type='histomm.DINONeck', **WIDTHS | dict(out_channels=3))).float()
    model.prototype_center.copy_(torch.tensor([0.02, 0.01, 0]))
    outputs = torch.tensor([[[0.10, 0.02, -0.04], [7, 7, 7]]])
    model._update_prototype_center(outputs, torch.tensor([[True, False]]))
    torch.testing.assert_close(model.prototype_center, torch.tensor([0.028, 0.011, -0.004]))


def test_the_first_view_can_be_left_out():
    model = build(skip_first_view=True)
    losses = model.loss(*batch([0, 1, 3]))
    (intra, inter), _ = by_hand(model, [0, 1, 3], skip=1)
    torch.testing.assert_close(losses['loss_intra'], intra)
    torch.testing.assert_close(losses['loss_inter'], inter)


@pytest.mark.parametrize(
    ('options', 'left'), [(dict(alpha_inter=0), 'loss_intra'), (dict(alpha_intra=0), 'loss_inter')]
)
def test_one_of_the_two_alone(options, left):
    """What is left out does not move the centre either."""
    model = build(**options)
    losses = model.loss(*batch([0, 1, 3]))
    assert set(losses) == {'loss_self', left}
    expected, outputs = by_hand(model, [0, 1, 3])
    torch.testing.assert_close(losses[left], expected[left == 'loss_inter'])
    used = [rows for region in (0, 1, 3) for rows in ([OWN[region]] if left == 'loss_intra' else OTHERS[region])]
    assert len(used) == (3 if left == 'loss_intra' else 6)
    chosen = [outputs[3 * b + k] for b in range(3) for k in ([0] if left == 'loss_intra' else [1, 2])]
    torch.testing.assert_close(model.prototype_center, 0.1 * torch.stack(chosen).mean(0))


def test_a_batch_without_prototypes_gives_a_zero_with_a_graph():
    model = build()
    before = model.prototype_center.fill_(0.3).clone()
    losses = model.loss(*batch([2, 2, 2]))
    assert losses['loss_intra'].item() == losses['loss_inter'].item() == 0
    (losses['loss_intra'] + losses['loss_inter']).backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.backbone.parameters())
    assert torch.equal(model.prototype_center, before)


def test_without_neighbours_there_is_no_inter():
    model = build()
    give(model, others=torch.zeros(6, 0, dtype=torch.long).tolist())
    assert set(model.loss(*batch([0, 1, 2]))) == {'loss_self', 'loss_intra'}


def test_before_there_are_prototypes_it_is_dino():
    model, plain = build(), build(alpha_intra=0, alpha_inter=0)
    model.bank.clear()
    views, samples = batch([0, 1])
    losses = model.loss(views, samples)
    assert set(losses) == {'loss_self'}
    plain.bank.supplied = False  # nothing is asked for where both weights are 0
    torch.testing.assert_close(plain.loss(views)['loss_self'], losses['loss_self'])
    reference = MODELS.build(
        dict(
            type='histomm.DINO',
            backbone=dict(type='histomm.CropsForTests'),
            neck=dict(type='histomm.DINONeck', **WIDTHS),
        )
    ).double()
    shared = {name: value for name, value in model.state_dict().items() if name in reference.state_dict()}
    reference.load_state_dict(shared)
    reference.center.zero_()
    reference.teacher.steps.zero_()
    torch.testing.assert_close(reference.loss(views)['loss'], losses['loss_self'])


def test_prototypes_are_saved_and_loaded_whatever_their_number():
    model, other = build(), build()
    model.loss(*batch([0, 1]))
    other.bank.clear()
    other.load_state_dict(model.state_dict())
    for name, value in model.bank.state_dict().items():
        assert torch.equal(other.bank.state_dict()[name], value), name
    assert len(other.bank.state_dict()) == 5
    torch.testing.assert_close(other.loss(*batch([3, 2]))['loss_inter'], model.loss(*batch([3, 2]))['loss_inter'])


def _check_two_processes(rank):
    """Three regions with prototypes are in the one process, one and another without in the other."""
    regions = [0, 1, 3, 5, 2, 2]
    model, reference = build(), build()
    expected = reference.loss(*batch(regions))
    wanted = gradients(reference, sum(expected.values()))
    found = model.loss(*batch(regions[3 * rank : 3 * rank + 3]))
    for name, value in found.items():
        mean = value.detach().clone()
        dist.all_reduce(mean)
        torch.testing.assert_close(mean / 2, expected[name].detach(), msg=name)
    for name, grad in gradients(model, sum(found.values())).items():
        dist.all_reduce(grad)  # what DDP does: the mean over processes
        torch.testing.assert_close(grad / 2, wanted[name], msg=name)
    both = model.prototype_center.clone()
    dist.all_reduce(both)
    torch.testing.assert_close(both / 2, model.prototype_center)
    _, outputs = by_hand(reference, regions)
    torch.testing.assert_close(model.prototype_center, 0.1 * torch.stack(outputs).mean(0))


def test_two_processes_equal_one():
    run_two_processes(_check_two_processes)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(feat='patch'), "SLPD: feat is 'patch', expected one of bottleneck, cls"),
        (dict(match='best'), "match is 'best', expected one of assignment, argmax"),
        (dict(scope='patient'), "scope is 'patient', expected one of slide, global"),
        (dict(neighbors='slides'), "neighbors is 'slides', expected one of prototypes, regions"),
        (dict(alpha_intra=-1), 'alpha_intra is -1, .* expected weights >= 0'),
        (dict(num_prototypes=0), 'num_prototypes 0'),
        (dict(scope='global'), "alpha_inter is 1.0 with scope='global', expected 0"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_what_is_missing_is_named():
    model = build()
    views, samples = batch([0, 1])
    with pytest.raises(ValueError, match=r'the data samples have no sample_idx.*PackTokens'):
        model.loss(views, [BaseDataElement(), BaseDataElement()])
    with pytest.raises(ValueError, match='prototypes of 6 regions, found region 6 in the batch'):
        model.loss(*batch([0, 6]))
    with pytest.raises(ValueError, match=r'rows \(3,\), own \(2,\) and others \(2, 1\), expected \(T, C\)'):
        model.bank.replace(torch.zeros(3), torch.zeros(2), torch.zeros(2, 1), 0)
    model.bank.supplied = False
    with pytest.raises(ValueError, match=r'nobody makes prototypes, expected histomm\.PrototypeHook in default_hooks'):
        model.loss(views, samples)
