"""Views made of a batch beside those that the pipeline makes of each image with the same draws."""

import copy
import sys
from functools import partial

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate, pseudo_collate

from histomm.datasets import pad_collate
from histomm.datasets.samplers import SampleIndex
from histomm.datasets.synthetic import draw_patch
from histomm.datasets.transforms import DrawViews, MultiView, PackDraws, PackViews
from histomm.models import BatchViews, ViewDataPreprocessor

PLAIN = dict(mean=(0, 0, 0), std=(1, 1, 1))
CROP = dict(type='histomm.RandomResizedCrop', size=48, scale=(0.2, 1.0))
SHIPPED = ('nct_two_views', 'nct_vicreg_views', 'patches_simclr_views', 'patches_dino_views', 'patches_one_view')


@pytest.fixture(scope='module')
def images():
    """Drawn tissue of several sizes, smaller and larger than the views, with a spot of pure colours."""
    drawn = []
    for number, name in enumerate(('TUM', 'STR', 'LYM', 'MUC', 'NORM', 'ADI')):
        image = draw_patch(name, (60, 96, 131)[number % 3], index=number)[number : 90 + number].copy()
        image[20:24, 20:24], image[30:34, 5:9] = (255, 0, 0), (0, 0, 255)
        drawn.append(image)
    return drawn


def samples(images, count):
    for number in range(count):
        image = images[number % len(images)]
        yield dict(img=image, img_path='', ori_shape=image.shape[:2], sample_idx=SampleIndex(number, 3, 1))


def both(views, images, count=12, **options):
    """The batch made by the pipeline, and by the model."""
    make, pack = MultiView(views), PackViews()
    pipeline = ViewDataPreprocessor(**PLAIN)(default_collate([pack(make(s)) for s in samples(images, count)]))
    draw, pack = DrawViews(views), PackDraws()
    batch = pad_collate([pack(draw(s)) for s in samples(images, count)])
    return pipeline, BatchViews(views, **PLAIN, **options)(batch)


@pytest.mark.parametrize('name', SHIPPED)
def test_shipped_views_are_those_of_the_pipeline(repo, images, name):
    views = Config.fromfile(repo / f'configs/_base_/datasets/{name}.py').train_dataloader.dataset.pipeline[1]['views']
    for view in views:
        view.pipeline[0].size //= 4
    pipeline, model = both(views, images, 24)
    assert len(pipeline['inputs']) == len(model['inputs'])
    for theirs, ours, recorded, geometry in zip(*(
        found[key] for key in ('inputs', 'geometry') for found in (pipeline, model)
    ), strict=True):  # fmt: skip
        for field in ('box', 'hflip', 'vflip', 'rot90'):
            assert torch.equal(getattr(recorded, field), getattr(geometry, field))
        assert torch.equal(ours, ours.round().clamp(0, 255))
        difference = ours - theirs
        assert difference.abs().mean() < 0.5
        assert (difference.abs() > 2).float().mean() < 0.02
        # moments of the drawn views, channel by channel
        axes = (0, 2, 3)
        assert (ours.mean(axes) - theirs.mean(axes)).abs().max() < 0.3
        assert (ours.std(axes) - theirs.std(axes)).abs().max() < 0.3


JITTER = dict(type='histomm.ColorJitter', brightness=0, contrast=0, saturation=0, hue=0, prob=1.0)
STEPS = {
    'crop': ([], 1),
    'bicubic crop': ([], 1),
    'brightness': ([dict(JITTER, brightness=0.8)], 2),
    'contrast': ([dict(JITTER, contrast=0.8)], 3),
    'saturation': ([dict(JITTER, saturation=0.8)], 3),
    'grey': ([dict(type='histomm.RandomGrayscale', prob=0.7)], 1),
    'flips and turns': ([dict(type='histomm.RandomFlip', prob_v=0.5), dict(type='histomm.RandomRotate90')], 1),
    'hue': ([dict(JITTER, hue=0.5)], None),
    'blur': ([dict(type='histomm.GaussianBlur', prob=0.7)], 1),
}


@pytest.mark.parametrize('name', STEPS)
def test_each_step_is_that_of_the_pipeline(images, name):
    """Levels by which one step differs at most; a step after the crop takes up the level that the crop may differ."""
    steps, most = STEPS[name]
    crop = dict(CROP, interpolation='bicubic' if name.startswith('bicubic') else 'bilinear')
    pipeline, model = both([dict(pipeline=[crop, *steps])], images)
    difference = (model['inputs'][0] - pipeline['inputs'][0]).abs()
    if most is not None:
        assert difference.max() <= most
    else:
        assert (difference > 3).float().mean() < 0.01, 'hue and saturation have 255 steps, of which one may differ'
    assert difference.mean() < 0.5


def test_solarisation_is_that_of_the_pipeline(images):
    fixed = [dict(type='histomm.RandomCrop', size=48), dict(type='histomm.RandomSolarize', threshold=100, prob=0.7)]
    pipeline, model = both([dict(pipeline=fixed)], images)
    assert torch.equal(model['inputs'][0], pipeline['inputs'][0])


@pytest.mark.parametrize('chunk_size', [1, 5, 100])
def test_chunks_and_padding_change_nothing(repo, images, chunk_size):
    views = [dict(pipeline=[dict(CROP), dict(type='histomm.ColorJitter'), dict(type='histomm.GaussianBlur')], num=2)]
    _, whole = both(views, images)
    draw, pack = DrawViews(views), PackDraws()
    packed = [pack(draw(sample)) for sample in samples(images, 12)]
    listed = BatchViews(views, chunk_size=chunk_size, **PLAIN)(pseudo_collate(packed))
    alone = [BatchViews(views, **PLAIN)(pad_collate([sample])) for sample in packed]
    for view in range(2):
        assert (listed['inputs'][view] - whole['inputs'][view]).abs().max() <= 1  # sums in another order
        single = torch.cat([one['inputs'][view] for one in alone])
        assert (single - whole['inputs'][view]).abs().max() <= 1


def test_images_are_normalised_as_ever(images):
    views = [dict(pipeline=[CROP])]
    draw, pack = DrawViews(views), PackDraws()
    batch = pad_collate([pack(draw(sample)) for sample in samples(images, 3)])
    levels = BatchViews(views, **PLAIN)(copy.copy(batch))['inputs'][0]
    options = dict(mean=(1, 2, 3), std=(2, 4, 8), channels_last=True, geometry=False)
    model = BatchViews(views, **options)
    result = model(batch)
    expected = (levels - torch.tensor([1.0, 2, 3]).view(3, 1, 1)) / torch.tensor([2.0, 4, 8]).view(3, 1, 1)
    torch.testing.assert_close(result['inputs'][0], expected)
    assert result['inputs'][0].is_contiguous(memory_format=torch.channels_last)
    assert 'geometry' not in result
    assert not model.state_dict()


def test_mixed_precision_of_the_model_changes_nothing(images):
    views = [dict(pipeline=[CROP, dict(type='histomm.ColorJitter')])]
    draw, pack = DrawViews(views), PackDraws()
    batch = pad_collate([pack(draw(sample)) for sample in samples(images, 3)])
    model = BatchViews(views)
    expected = model(batch)['inputs'][0]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(model(batch)['inputs'][0], expected)


def test_batches_without_draws_are_only_normalised():
    batch = dict(inputs=[torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)])
    found, expected = BatchViews([dict(pipeline=[CROP])])(batch), ViewDataPreprocessor()(batch)
    assert torch.equal(found['inputs'][0], expected['inputs'][0])


def test_draws_of_another_list_are_refused(images):
    draw, pack = DrawViews([dict(pipeline=[CROP], num=2)]), PackDraws()
    batch = pad_collate([pack(draw(sample)) for sample in samples(images, 2)])
    with pytest.raises(ValueError, match=r'found draws for 2 views of \[7, 7\] numbers, expected 1 of \[8\]'):
        BatchViews([dict(pipeline=[CROP, dict(type='histomm.GaussianBlur')])])(batch)
    with pytest.raises(ValueError, match=r'images are torch.float32, expected torch.uint8'):
        BatchViews([dict(pipeline=[CROP], num=2)])(dict(batch, inputs=batch['inputs'].float()))


@pytest.mark.parametrize(
    ('bad', 'message'),
    [
        (dict(chunk_size=0), 'chunk_size is 0'),
        (dict(backend='dali'), r"backend is 'dali', expected one of \['torch', "),
    ],
)
def test_bad_arguments(bad, message):
    with pytest.raises(ValueError, match=message):
        BatchViews([dict(pipeline=[CROP])], **bad)


# ---- other backends

FLAT = dict(type='histomm.RandomCrop', size=48)


@pytest.mark.parametrize('name', ['brightness', 'contrast', 'saturation', 'hue', 'blur'])
def test_kornia_makes_the_same_in_floats(images, name):
    """Within what the truncations cost, hue and saturation of 255 steps, and the blur's boxes."""
    pytest.importorskip('kornia')
    amount = 0.5 if name == 'hue' else 0.8
    step = (
        dict(type='histomm.GaussianBlur', sigma=(0.6, 2.0), prob=1.0)
        if name == 'blur'
        else dict(JITTER, **{name: amount})
    )
    views = [dict(pipeline=[FLAT, step])]
    draw, pack = DrawViews(views), PackDraws()
    batch = pad_collate([pack(draw(sample)) for sample in samples(images, 12)])
    own, other = (BatchViews(views, backend=kind, **PLAIN)(batch)['inputs'][0] for kind in ('torch', 'kornia'))
    assert torch.equal(other, other.round().clamp(0, 255))
    difference = (own - other).abs()
    assert difference.mean() < 1.5
    assert (difference > 4).float().mean() < 0.05
    if name in ('brightness', 'contrast', 'saturation'):
        assert difference.max() <= 2


def test_missing_kornia_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'kornia', None)
    with pytest.raises(ModuleNotFoundError, match=r"backend 'kornia' needs kornia, .*run `pip install kornia`"):
        BatchViews([dict(pipeline=[CROP])], backend='kornia')


def test_compiled_jitter_is_the_same(images, monkeypatch):
    """For groups of images of several sizes, since each image has its own order. Captured as for a compiler, whose
    code tools/benchmarks/device_views.py holds to the same: making it takes too long here."""
    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend='eager'))
    views = [dict(pipeline=[FLAT, dict(JITTER, contrast=0.4, hue=0.1)])]
    draw, pack = DrawViews(views), PackDraws()
    plain, compiled = BatchViews(views, **PLAIN), BatchViews(views, compile=True, **PLAIN)
    for count in (12, 5):
        batch = pad_collate([pack(draw(sample)) for sample in samples(images, count)])
        assert torch.equal(plain(batch)['inputs'][0], compiled(batch)['inputs'][0])
