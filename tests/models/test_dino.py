"""DINO's whole step against loops written from the paper, on one process and on two."""

import copy
import math

import pytest
import torch
import torch.distributed as dist
from distributed import run_two_processes
from mmengine.logging import MessageHub
from torch import nn

from histomm.models import DINONeck
from histomm.registry import MODELS

WIDTHS = dict(in_channels=12, hid_channels=10, bottleneck_channels=6, out_channels=9)


@MODELS.register_module(name='CropsForTests')
class _Backbone(nn.Module):
    """Features of each image by itself, with dropout if wanted, of crops of any size."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 4, 4)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images):
        return (self.dropout(self.conv(images).tanh()),)


def build(dropout=0.0, **options):
    config = dict(
        type='histomm.DINO',
        backbone=dict(type='histomm.CropsForTests', dropout=dropout),
        neck=dict(type='histomm.DINONeck', **WIDTHS),
        end_momentum=None,
        momentum=0.8,
    )
    torch.manual_seed(3)
    model = MODELS.build(config | options)
    model.init_weights()
    for linear in (part for part in model.neck.mlp if isinstance(part, nn.Linear)):
        nn.init.normal_(linear.weight, std=0.4)  # so that outputs differ by more than rounding
    return model.double()


def views(size=4, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, 3, side, side, generator=generator).double() for side in (16, 16, 8, 8, 8)]


def head(neck, vector):
    """The head on one vector, written out."""
    first, second, third = (part for part in neck.mlp if isinstance(part, nn.Linear))
    for linear in (first, second):
        x = linear.weight @ vector + linear.bias
        vector = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    z = third.weight @ vector + third.bias
    z = z / z.norm()
    return torch.stack([row @ z / row.norm() for row in neck.last_layer.weight])


def output(backbone, neck, image):
    return head(neck, backbone.conv(image[None])[0].tanh().mean((1, 2)))


def naive(student, teacher, center, crops, student_temp=0.1, teacher_temp=0.04):
    """Loss and the mean of the teacher's outputs, image by image and pair by pair."""
    total, pairs, outputs = 0, 0, []
    for b in range(len(crops[0])):
        for i in range(2):
            with torch.no_grad():
                t = output(*teacher, crops[i][b])
            outputs.append(t)
            p = torch.exp((t - center) / teacher_temp)
            p = p / p.sum()
            for j, crop in enumerate(crops):
                if j != i:
                    s = output(*student, crop[b]) / student_temp
                    total = total - sum(p[k] * (s[k] - torch.log(torch.exp(s).sum())) for k in range(len(p)))
                    pairs += 1
    return total / pairs, torch.stack(outputs).mean(0)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_three_steps_are_those_of_the_paper():
    """Loss, gradients, centre and teacher; SGD by hand on one side, by torch on the other."""
    model = build()
    twin = copy.deepcopy(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.3)
    student, teacher = (twin.backbone, twin.neck), None
    center = torch.zeros(9).double()
    for step in range(3):
        crops = views(seed=step)
        if teacher is None:
            teacher = copy.deepcopy(student)
        else:
            for old, new in zip(teacher, student, strict=True):
                for p, q in zip(old.parameters(), new.parameters(), strict=True):
                    p.data = 0.8 * p.data + 0.2 * q.data
        expected, mean = naive(student, teacher, center, crops)
        wanted = gradients(twin, expected)
        found = model.loss(crops)['loss']
        torch.testing.assert_close(found, expected)
        got = gradients(model, found)
        assert got.keys() == wanted.keys()
        assert not any(name.startswith('teacher') for name in got)
        for name, grad in got.items():
            torch.testing.assert_close(grad, wanted[name], msg=name)
            assert grad.any(), name
        center = 0.9 * center + 0.1 * mean
        torch.testing.assert_close(model.center, center)
        optimizer.step()
        for name, p in twin.named_parameters():
            if name in wanted:
                p.data -= 0.3 * wanted[name]


def test_the_student_alone_learns():
    model = build()
    loss = model.loss(views())['loss']
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != name.startswith('teacher.'), name
        assert (parameter.grad is None) == name.startswith('teacher.'), name
    assert not model.center.requires_grad


def _check_two_processes(rank):
    model, whole = build(), views(6)
    reference = build()
    expected = reference.loss(whole)['loss']
    wanted = gradients(reference, expected)
    found = model.loss([view[3 * rank : 3 * rank + 3] for view in whole])['loss']
    mean = found.detach().clone()
    dist.all_reduce(mean)
    torch.testing.assert_close(mean / 2, expected.detach())
    for name, grad in gradients(model, found).items():
        dist.all_reduce(grad)  # what DDP does: the mean over processes
        torch.testing.assert_close(grad / 2, wanted[name], msg=name)
    both = model.center.clone()
    dist.all_reduce(both)
    torch.testing.assert_close(both / 2, model.center)
    teacher = torch.cat([reference.teacher.module['neck'](_pooled(reference, view))[0] for view in whole[:2]])
    torch.testing.assert_close(model.center, 0.1 * teacher.mean(0))


def _pooled(model, view):
    return (model.teacher.module['backbone'](view)[0].mean((2, 3)),)


def test_two_processes_equal_one():
    run_two_processes(_check_two_processes)


def test_crops_of_one_size_are_one_batch():
    model, seen = build(), []
    model.backbone.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    model.loss(views(4))
    assert seen == [(8, 3, 16, 16), (12, 3, 8, 8)]


def test_the_teacher_sees_large_crops_without_dropout():
    model, seen = build(dropout=0.5), []
    model.train()
    teacher = model.teacher.module['backbone']
    teacher.register_forward_hook(lambda module, args, out: seen.append((args[0], out[0])))
    model.loss(views(4))
    ((images, maps),) = seen
    assert len(images) == 8
    torch.testing.assert_close(maps, teacher.conv(images).tanh())
    assert model.backbone.dropout.training


def test_batch_norms_of_the_teacher_follow_training():
    model = build()
    model.teacher.module['backbone'].conv = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    for mode in (True, False):
        model.train(mode)
        norm, dropout = model.teacher.module['backbone'].conv
        assert norm.training is mode
        assert dropout.training is False


def test_head_has_the_published_number_of_parameters():
    neck = DINONeck(192)
    assert sum(p.numel() for p in neck.parameters()) == 21_893_376
    assert neck.out_channels == 65_536  # as many gains, all 1, are no parameters


def test_outputs_of_the_head_do_not_depend_on_the_length_of_rows():
    neck, rows = DINONeck(**WIDTHS).double(), torch.randn(5, 12).double()
    expected = torch.stack([head(neck, row) for row in rows])
    torch.testing.assert_close(neck((rows,))[0], expected)
    neck.last_layer.weight.data *= torch.rand(9, 1).double() + 0.5
    torch.testing.assert_close(neck((rows,))[0], expected)
    torch.testing.assert_close(neck.bottleneck(rows).norm(dim=1), torch.ones(5).double())


def test_last_layer_has_gradients_of_weight_normalisation():
    """Those of torch's own with its gain at 1."""
    neck = DINONeck(**WIDTHS).double()
    other = nn.utils.parametrizations.weight_norm(nn.Linear(6, 9, bias=False).double(), dim=0)
    other.parametrizations.weight.original0.data.fill_(1.0)
    other.parametrizations.weight.original1.data.copy_(neck.last_layer.weight)
    rows, wanted = torch.randn(4, 6).double(), torch.randn(4, 9).double()
    for layer in (neck.last_layer, other):
        (layer(rows) * wanted).sum().backward()
    torch.testing.assert_close(neck.last_layer.weight.grad, other.parametrizations.weight.original1.grad)


def test_copies_and_states_keep_the_head():
    neck = DINONeck(**WIDTHS)
    rows, twin = torch.randn(3, 12), copy.deepcopy(neck)
    neck(((rows),))[0].sum().backward()
    again = copy.deepcopy(neck)
    fresh = DINONeck(**WIDTHS)
    fresh.load_state_dict(neck.state_dict(), strict=True)
    for other in (twin, again, fresh):
        torch.testing.assert_close(other((rows,)), neck((rows,)), rtol=0, atol=0)
    assert 'last_layer.weight' in neck.state_dict()


@pytest.mark.parametrize(
    ('epochs', 'expected'),
    [(0, [0.07] * 5), (1, [0.04, 0.07, 0.07, 0.07, 0.07]), (4, [0.04, 0.05, 0.06, 0.07, 0.07])],
)
def test_temperature_of_the_teacher_warms_up(epochs, expected):
    model, found = build(teacher_temp=0.07, warmup_teacher_epochs=epochs), []
    hub = MessageHub.get_current_instance()
    for epoch in range(5):
        hub.update_info('epoch', epoch)
        found.append(model.current_teacher_temp())
    assert found == pytest.approx(expected)


def test_warm_up_without_epochs_is_an_error():
    model = build(warmup_teacher_epochs=3)
    assert MessageHub.get_instance('dino-without-loop').get_info('epoch') is None  # now the current one
    with pytest.raises(ValueError, match='warmup_teacher_epochs is 3, expected a training loop'):
        model.current_teacher_temp()


def test_momentum_is_at_the_mean_in_the_middle():
    model = build(momentum=0.996, end_momentum=1.0)
    model.teacher.total_steps = 100
    model.teacher.steps.fill_(50)
    assert model.teacher.current_momentum() == pytest.approx(0.998)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(student_temp=0), 'DINO: student_temp, teacher_temp and warmup_teacher_temp are'),
        (dict(warmup_teacher_epochs=-1), 'warmup_teacher_epochs is -1, expected numbers > 0 and at least 0'),
        (dict(center_momentum=1.1), r'center_momentum is 1.1 and num_large 2, expected a value in \[0, 1\]'),
        (dict(num_large=0), 'num_large 0'),
        (dict(num_large=6), 'found 5 views, expected at least 6; check MultiView and num_large'),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options).loss(views())
