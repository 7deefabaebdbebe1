"""ConfidenceNet: its size and view, and that its fast form equals the plain one."""

import pytest
import torch
from tool_modules import load_tool
from torch import nn

from histomm.models.backbones.confidence_net import _ELU, ConfidenceNet, batch_statistics

PlainNet = load_tool('tools/benchmarks/_patch_loop.py').PlainNet


def twins(dtype=torch.float64, classes=4):
    """Network and plain network of the same weights, batch norms included."""
    plain, net = PlainNet(classes).to(dtype), ConfidenceNet(classes).to(dtype)
    for name, value in plain.state_dict().items():
        if value.dtype.is_floating_point:
            value.uniform_(0.5, 1.5) if 'running' in name else value.normal_(0, 0.4)
    keys = dict(zip(net.state_dict(), plain.state_dict().values(), strict=True))
    net.load_state_dict(keys)
    return net, plain


@pytest.mark.parametrize(
    ('options', 'count'),
    [
        (dict(), 7372),
        (dict(num_classes=1), 7345),
        (dict(num_classes=1, channels=64, activation='relu'), 445_825),
    ],
)
def test_number_of_parameters(options, count):
    assert sum(parameter.numel() for parameter in ConfidenceNet(**options).parameters()) == count


def test_receptive_field_is_167_pixels():
    """With positive weights no path cancels another, and all that the middle sees has a gradient."""
    net = ConfidenceNet(1).eval()
    for parameter in net.parameters():
        parameter.data.fill_(0.1)
    image = torch.rand(1, 3, 181, 175, requires_grad=True)
    net.logits(image)[0, 0, 90, 87].backward()
    y, x = image.grad.abs().sum((0, 1)).nonzero().T
    assert (y.min(), y.max()) == (90 - 83, 90 + 83)
    assert (x.min(), x.max()) == (87 - 83, 87 + 83)


@pytest.mark.parametrize('training', [True, False])
def test_equals_the_plain_network(training):
    net, plain = (model.train(training) for model in twins())
    images = torch.rand(2, 3, 43, 45, dtype=torch.float64)
    weight = torch.randn(2, 4, 43, 45, dtype=torch.float64)
    outputs = [model(images) for model in (net, plain)]
    torch.testing.assert_close(*outputs)
    gradients = [
        torch.autograd.grad((output * weight).sum(), tuple(model.parameters()))
        for output, model in zip(outputs, (net, plain), strict=True)
    ]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)
    for found, expected in zip(net.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(found, expected)


def test_single_precision_is_as_near_to_double_as_the_plain_network():
    net, plain = (model.float().eval() for model in twins())
    images = torch.rand(1, 3, 41, 41)
    with torch.no_grad():
        exact = PlainNet(4).double().eval()
        exact.load_state_dict(plain.state_dict())
        truth = exact(images.double())
        ours, theirs = ((model(images) - truth).abs().max() for model in (net, plain))
    assert ours <= 2 * theirs + 1e-6


def test_elu_in_place_equals_torchs_and_its_gradient():
    values = torch.tensor([-torch.inf, -200.0, -3.0, -1e-4, 0.0, 1e-4, 2.0, 300.0, torch.inf, torch.nan])
    expected = nn.functional.elu(values)
    torch.testing.assert_close(_ELU()(values.clone()), expected, atol=1e-7, rtol=0, equal_nan=True)
    points = torch.tensor([-3.0, -0.5, 0.4, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: _ELU()(x * 1), points)


@pytest.mark.parametrize('size', [(1, 1), (7, 300), (33, 18)])
def test_any_size_gives_a_confidence_for_every_pixel(size):
    output = ConfidenceNet(3).eval()(torch.rand(2, 3, *size))
    assert output.shape == (2, 3, *size)
    assert ((output >= 0) & (output <= 1)).all()


def test_bfloat16_is_near():
    net = twins()[0].float().eval()
    images = torch.rand(1, 3, 40, 40)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        half = net.logits(images)
    with torch.no_grad():
        full = net.logits(images)
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().mean() < 0.03 * full.abs().mean()


def test_traced_network_equals_it():
    net = twins()[0].float().eval()
    images = torch.rand(1, 3, 40, 40)
    torch.testing.assert_close(torch.jit.trace(net, images)(images), net(images))


def test_batch_statistics_are_those_of_training_and_leave_no_trace():
    net = twins()[0].eval()
    images = torch.rand(3, 3, 30, 30, dtype=torch.float64)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with batch_statistics(net):
        found = net(images)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not torch.allclose(found, net(images))
    torch.testing.assert_close(found, net.train()(images))


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match="activation is 'gelu', expected one of"):
        ConfidenceNet(activation='gelu')
