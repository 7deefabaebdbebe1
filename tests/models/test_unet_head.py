"""The U-Net decoder by its table, beside plain functions, and as a head of mmseg."""

import pickle

import pytest
import torch
from mmengine.config import ConfigDict
from torch.nn.functional import batch_norm, conv2d, conv_transpose2d, cross_entropy, relu

from histomm.models import ResNetWithStem, UNetDecoder
from histomm.registry import MODELS

R18 = (64, 64, 128, 256, 512)


def maps(channels=R18, sides=(4, 5), batch=2):
    """Maps of a backbone, the last of which has these sides."""
    steps = range(len(channels) - 1, -1, -1)
    return [torch.randn(batch, c, sides[0] * 2**k, sides[1] * 2**k) for c, k in zip(channels, steps, strict=True)]


def decoder(channels=(3, 5, 6), up_channels=(4, 2), last=3):
    made = UNetDecoder(channels, up_channels, last)
    for value in made.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) * 0.6 - 0.2 * (value.ndim > 1) + 0.05)
    return made.double().eval()


def test_weights_are_those_of_the_table():
    shapes = {name: tuple(p.shape) for name, p in UNetDecoder(R18).named_parameters()}
    # input, after the transposed convolution, skip, result
    table = [(512, 512, 256, 512), (512, 256, 128, 256), (256, 128, 64, 128), (128, 64, 64, 64)]
    for number, (given, up, skip, out) in enumerate(table):
        assert shapes[f'blocks.{number}.up.weight'] == (given, up, 2, 2)
        assert shapes[f'blocks.{number}.convs.0.weight'] == (out, up + skip, 3, 3)
        assert shapes[f'blocks.{number}.convs.3.weight'] == (out, out, 3, 3)
    assert shapes['last.weight'] == (64, 32, 2, 2)


def test_forward_equals_plain_functions():
    made, inputs = decoder(), [x.double() for x in maps((3, 5, 6), (3, 4))]
    w = made.state_dict()

    def conv(x, block, number):
        name = f'blocks.{block}.convs.{number}'
        x = conv2d(x, w[f'{name}.weight'], w[f'{name}.bias'], padding=1)
        norm = f'blocks.{block}.convs.{number + 1}'
        mean, var = w[f'{norm}.running_mean'], w[f'{norm}.running_var']
        return relu(batch_norm(x, mean, var, w[f'{norm}.weight'], w[f'{norm}.bias']))

    def double(x, name):
        return conv_transpose2d(x, w[f'{name}.weight'], w[f'{name}.bias'], stride=2)

    half, quarter, eighth = inputs
    x = conv(conv(torch.cat([double(eighth, 'blocks.0.up'), quarter], 1), 0, 0), 0, 3)
    x = conv(conv(torch.cat([double(x, 'blocks.1.up'), half], 1), 1, 0), 1, 3)
    torch.testing.assert_close(made(inputs), double(x, 'last'))
    assert made(inputs).shape == (2, 3, 24, 32)


def test_every_map_and_every_weight_has_a_gradient():
    made, inputs = decoder().train(), [x.double().requires_grad_() for x in maps((3, 5, 6))]
    (made(inputs) * torch.randn(2, 3, 32, 40)).sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in inputs)
    silent = [name for name, p in made.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert silent == []


@pytest.mark.parametrize('size', [(100, 96), (64, 97), (80, 64)])
def test_sizes_that_do_not_halve_are_refused(size):
    backbone = ResNetWithStem(18, base_channels=8, stem_channels=8)
    made = UNetDecoder((8, 8, 16, 32, 64), (8, 8, 8, 8))
    with pytest.raises(ValueError, match=r'expected half the size; .* multiples of 32: set size_divisor=32'):
        made(backbone(torch.randn(1, 3, *size)))


def test_blocks_must_fit_the_maps():
    with pytest.raises(ValueError, match='in_channels names 4 maps and up_channels 4 blocks'):
        UNetDecoder((64, 64, 128, 256))


# ---- as a head of mmseg


@pytest.fixture
def _ops():
    pytest.importorskip('mmcv.ops', exc_type=ImportError)


needs_ops = pytest.mark.usefixtures('_ops')


def head(**options):
    return MODELS.build(dict(type='histomm.UNetHead', in_channels=R18, num_classes=21) | options)


@needs_ops
def test_number_of_parameters():
    assert sum(p.numel() for p in head().parameters()) == 9_604_373


@needs_ops
def test_the_class_can_be_imported_and_pickled():
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead

    from histomm.models.heads.unet_head import UNetHead

    assert type(head()) is UNetHead
    assert issubclass(UNetHead, BaseDecodeHead)
    assert pickle.loads(pickle.dumps(UNetHead)) is UNetHead


@needs_ops
def test_weights_start_from_kaimings_fan_out():
    made = head()
    made.init_weights()
    # 3×3 from 768 to 512: √(2 / (512 · 9)); transposed, torch counts (512 in) · 4; 1×1 to 21 classes: √(2 / 21).
    first = made.decoder.blocks[0]
    assert first.convs[0].weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert first.up.weight.std().item() == pytest.approx((2 / (512 * 4)) ** 0.5, rel=0.01)
    assert made.conv_seg.weight.std().item() == pytest.approx((2 / 21) ** 0.5, rel=0.1)
    assert first.convs[0].bias.abs().max() == 0


def segmentor(**backbone):
    import mmseg.models  # noqa: F401, registers the segmentor

    config = dict(
        type='mmseg.EncoderDecoder',
        data_preprocessor=dict(
            type='mmseg.SegDataPreProcessor', mean=[0] * 3, std=[1] * 3, size_divisor=32, test_cfg=dict(size_divisor=32)
        ),
        backbone=dict(type='histomm.ResNetWithStem', depth=18, base_channels=8, stem_channels=8) | backbone,
        decode_head=dict(
            type='histomm.UNetHead', in_channels=(8, 8, 16, 32, 64), up_channels=(8,) * 4, channels=8, num_classes=3
        ),
        train_cfg={},
        test_cfg=dict(mode='whole'),
    )
    return MODELS.build(ConfigDict(config))


def batch(size, labels=None):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for _ in range(2):
        truth = torch.randint(0, 3, (1, *size)) if labels is None else labels
        sample = SegDataSample(gt_sem_seg=PixelData(data=truth))
        sample.set_metainfo(dict(img_shape=size, ori_shape=size))
        samples.append(sample)
    return dict(inputs=[torch.rand(3, *size) for _ in samples], data_samples=samples)


@needs_ops
def test_any_size_is_segmented_with_the_padding_of_the_preprocessor():
    model, data = segmentor().eval(), batch((50, 75))
    found = model.test_step(data)
    assert [tuple(sample.pred_sem_seg.data.shape) for sample in found] == [(1, 50, 75)] * 2
    padded = torch.nn.functional.pad(torch.stack(data['inputs']), (0, 21, 0, 14))
    logits = model(padded)[:, :, :50, :75]
    assert torch.equal(found[1].pred_sem_seg.data[0], logits[1].argmax(0))


@needs_ops
def test_loss_is_the_mean_over_pixels_that_are_not_ignored():
    labels = torch.randint(0, 3, (1, 50, 75))
    labels[:, :, 20:] = 255
    model, data = segmentor().eval(), batch((50, 75), labels)
    ready = model.data_preprocessor(data, training=True)
    loss = model(ready['inputs'], ready['data_samples'], mode='loss')['decode.loss_ce']
    logits = model(ready['inputs'])[:, :, :50, :20]
    truth = labels[:, :, :20].expand(2, -1, -1)
    assert loss.item() == pytest.approx(cross_entropy(logits, truth).item(), rel=1e-5)


@needs_ops
def test_a_step_trains_the_head_and_leaves_a_frozen_encoder_alone():
    from mmengine.optim import OptimWrapper

    for frozen in (-1, 4):
        model = segmentor(frozen_stages=frozen)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.02)
        model.train()
        model.train_step(batch((64, 64)), OptimWrapper(optimizer))
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert changed >= {name for name, _ in model.decode_head.named_parameters(prefix='decode_head') if 'up' in name}
        encoder = {name for name in before if name.startswith('backbone.')}
        assert changed & encoder == (encoder if frozen == -1 else set())
