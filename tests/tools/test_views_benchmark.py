"""The benchmark of views follows the configs, and torchvision's side makes what the configs say."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image, ImageFilter
from tool_modules import load_tool
from torchvision import transforms as T

from histomm.datasets.transforms import ColorJitter


@pytest.fixture
def views(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / 'tools' / 'benchmarks'))
    return load_tool('tools/benchmarks/views.py')


@pytest.fixture
def torchvision():
    return load_tool('tools/benchmarks/_torchvision.py')


def names(step):
    """Transforms of torchvision by name, those that are applied at times as lists."""
    inner = getattr(step, 'transforms', None)
    return type(step).__name__ if inner is None else [names(part) for part in inner]


def test_views_are_those_of_the_configs(views, torchvision):
    sizes = {}
    for name, item in views.LISTS.items():
        pipeline = Config.fromfile(views.CONFIGS / item.config).train_dataloader.dataset.pipeline
        made = torchvision.torchvision_views(pipeline, (1, 1, 1), (2, 2, 2))
        image = Image.fromarray(views.draw_images(1, *item.size)[0])
        sizes[name] = [tuple(view(image).shape) for view in made]
    large, small = (3, 224, 224), (3, 96, 96)
    assert sizes == dict.fromkeys(('MoCo-v2', 'SimCLR', 'MPCS'), [large] * 2) | {'DINO': [large] * 2 + [small] * 8}


def test_steps_have_the_numbers_of_the_config(views, torchvision):
    dino = Config.fromfile(views.CONFIGS / views.LISTS['DINO'].config).train_dataloader.dataset.pipeline
    second = torchvision.torchvision_views(dino, (127.5,) * 3, (51.0,) * 3)[1]
    assert names(second) == [
        'RandomResizedCrop',
        ['RandomHorizontalFlip', 'RandomVerticalFlip'],
        ['ColorJitter'],
        'RandomGrayscale',
        ['PillowBlur'],
        'RandomSolarize',
        'ToTensor',
        'Normalize',
    ]
    crop, flips, jitter, grey, blur, solarize, _, normalise = second.transforms
    assert (crop.scale, crop.interpolation, crop.size) == ((0.4, 1.0), T.InterpolationMode.BICUBIC, (224, 224))
    assert [flip.p for flip in flips.transforms] == [0.5, 0.0]
    assert (jitter.p, jitter.transforms[0].saturation, jitter.transforms[0].hue) == (0.8, (0.8, 1.2), (-0.1, 0.1))
    assert (grey.p, blur.p, blur.transforms[0].sigma) == (0.2, 0.1, (0.1, 2.0))
    assert (solarize.p, solarize.threshold) == (0.2, 128)
    assert (normalise.mean, normalise.std) == ([0.5] * 3, [0.2] * 3)


def test_mpcs_is_not_normalised(views, torchvision):
    pipeline = Config.fromfile(views.CONFIGS / views.LISTS['MPCS'].config).train_dataloader.dataset.pipeline
    first, second = torchvision.torchvision_views(pipeline, (0, 0, 0), (255, 255, 255))
    found = names(first)
    assert found == names(second)
    mirrors = ['RandomHorizontalFlip', 'RandomVerticalFlip', ['RandomHorizontalFlip', 'RandomVerticalFlip']]
    assert found == [['ColorJitter'], [mirrors], ['RandomRotation'], ['RandomAffine'], 'Resize', 'ToTensor']


def test_an_unknown_step_is_an_error(torchvision):
    with pytest.raises(KeyError, match="Sharpen': torchvision's side of the benchmark has none such"):
        torchvision.translate(dict(type='histomm.Sharpen'))
    with pytest.raises(ValueError, match='neither MultiView nor MagnificationViews'):
        torchvision.view_lists([dict(type='histomm.LoadPatch')])


def test_quarter_turns_and_blur_are_those_of_pillow(torchvision):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8))
    turned = {np.asarray(torchvision.QuarterTurns()(image)).tobytes() for _ in range(60)}
    assert turned == {np.ascontiguousarray(np.rot90(np.asarray(image), k)).tobytes() for k in (1, 2, 3)}
    blurred = torchvision.PillowBlur((1.5, 1.5))(image)
    assert blurred.tobytes() == image.filter(ImageFilter.GaussianBlur(1.5)).tobytes()


def test_histomms_side_runs_the_whole_pipeline(views):
    """Both kinds of pipelines, with the shares of their transforms."""
    args = type('Options', (), dict(folder=None, images=2, normalise=True, repeats=1))
    before = ColorJitter.transform
    rows = views.shares(views.LISTS['MPCS'], args)
    assert ColorJitter.transform is before
    assert {row[0] for row in rows} == {'ColorJitter', 'RandomMirror', 'RandomAffine', 'ResizeWhole', 'the rest'}
    assert sum(float(row[2].rstrip('%')) for row in rows) == pytest.approx(100, abs=3)


def test_drawn_images_have_the_size_of_the_list(views):
    images = views.draw_images(2, 46, 70)
    assert [image.shape for image in images] == [(46, 70, 3)] * 2
    assert not torch.equal(*map(torch.from_numpy, images))
