"""Shipped methods with a switch for speed, beside the same steps without: losses, queues and averaged encoders."""

from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmpretrain.structures import DataSample
from small_runs import REPO, pretraining_options, small_config

from histomm.engine.speed import SWITCHES, in_memory_format
from histomm.models import EMATeacher
from histomm.models.queue import FeatureQueue
from histomm.registry import MODELS

METHODS = {
    'plm/moco_plm_r18_nct.py': [64, 64],
    'plm/vicregl_plm_r18_nct.py': [64, 64],
    'plm/concl_plm_r18_nct.py': [64, 64, 64],
    'plm/byol_plm_r18_nct.py': [64, 64],
    'simclr/simclr_r18_patches_lamb.py': [64, 64],
    'dino/dino_vit-tiny_patches.py': [64, 64, 48],
}
"""Configs, and the sides of the views that a step of each takes."""

BATCH, STEPS = 8, 2


def make_batch(sizes, number):
    """Random views: random crops of images of 64 pixels, flipped or not; a third view of one size is the image."""
    generator = torch.Generator().manual_seed(number)
    smooth = torch.rand(BATCH, 3, 8, 8, generator=generator)
    views = [torch.nn.functional.interpolate(smooth, size=(side, side)) for side in sizes]
    noise = [torch.rand(view.shape, generator=generator) for view in views]
    inputs = [(200 * view + 55 * grain).to(torch.uint8) for view, grain in zip(views, noise, strict=True)]
    corner = torch.rand(BATCH, len(sizes), 2, generator=generator) * 24
    boxes = torch.cat([corner, corner + 40], 2)
    boxes[:, 2:] = torch.tensor([0.0, 0, 64, 64])
    flips = torch.rand(BATCH, len(sizes), generator=generator) < 0.5
    flips[:, 2:] = False
    none = [0] * len(sizes)
    samples = [
        DataSample(metainfo=dict(crop_box=box.tolist(), hflip=flip.tolist(), vflip=none, rot90=none))
        for box, flip in zip(boxes, flips, strict=True)
    ]
    return dict(inputs=inputs, data_samples=samples)


@cache
def train(path, *switches):
    """Losses of a few steps of a shipped config with these switches, and the model afterwards."""
    cfg = small_config(REPO / 'configs' / path, Path('none'), pretraining_options(Path('none')))
    for name in switches:
        SWITCHES[name](cfg)
    hub = MessageHub.get_current_instance()
    hub.update_info('max_iters', 10)
    hub.update_info('iter', 0)
    torch.manual_seed(0)
    model = in_memory_format(MODELS.build(cfg.model)).train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    losses = []
    for number in range(STEPS):
        torch.manual_seed(number)
        losses.append(model.train_step(make_batch(METHODS[path], number), wrapper))
    return losses, model


@pytest.mark.parametrize('path', METHODS)
def test_mixed_precision_follows_full_precision(path):
    """bfloat16 keeps 8 bits, and the batch norms of small random networks blow their rounding up."""
    (plain, _), (mixed, model) = train(path), train(path, 'amp')
    for number, (expected, found) in enumerate(zip(plain, mixed, strict=True)):
        assert expected.keys() == found.keys()
        assert {value.dtype for name, value in found.items() if 'loss' in name} == {torch.float32}
        for name in found:
            if 'loss' in name:
                torch.testing.assert_close(found[name], expected[name], rtol=0.1, atol=0.02, msg=f'{number}: {name}')
    assert {value.dtype for value in model.state_dict().values()} <= {torch.float32, torch.int64}
    for queue in (part for part in model.modules() if isinstance(part, FeatureQueue)):
        torch.testing.assert_close(queue.rows.norm(dim=1), torch.ones(len(queue)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    'path', ['plm/moco_plm_r18_nct.py', 'plm/byol_plm_r18_nct.py', 'dino/dino_vit-tiny_patches.py']
)
def test_channels_last_and_a_fused_optimiser_change_rounding_alone(path):
    (plain, expected), (fast, found) = train(path), train(path, 'channels_last', 'fused')
    for a, b in zip(plain, fast, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4)
    convolutions = [part for part in found.modules() if isinstance(part, torch.nn.Conv2d)]
    assert all(part.weight.is_contiguous(memory_format=torch.channels_last) for part in convolutions)
    teachers = [part for part in found.modules() if isinstance(part, EMATeacher)]
    assert any(isinstance(part, torch.nn.Conv2d) for teacher in teachers for part in teacher.modules())
    assert list(found.state_dict()) == list(expected.state_dict())
