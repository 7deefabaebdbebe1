"""Nuclei served from converted sets: crops for pre-training, whole images with their instances for evaluation."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from tool_modules import load_tool

from histomm.datasets import NucleiDataset
from histomm.datasets.synthetic import write_layout
from histomm.datasets.transforms import LoadInstances, LoadPatch, PackInstances, RandomCrop, RandomFlip, RandomRotate90
from histomm.models import ViewDataPreprocessor

CONFIGS = 'configs/_base_/datasets'


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope='module')
def converted(tmp_path_factory):
    """MoNuSeg and CoNSeP drawn and converted, and masks of the first as a TNBC of two slides."""
    root = tmp_path_factory.mktemp('sets')
    for layout, folder in (('monuseg', 'MoNuSeg'), ('consep', 'CoNSeP')):
        write_layout(layout, root / layout, 4, (90, 75), 0)
        assert not load_tool(f'tools/dataset_converters/{layout}.py').main(
            [str(root / layout), '--out', str(root / folder)]
        )
    for number, path in enumerate(sorted((root / 'MoNuSeg' / 'images').iterdir()), 1):
        pixels = {
            'Slide': read(path),
            'GT': ((read(path.parents[1] / 'instances' / path.name) > 0) * 255).astype(np.uint8),
        }
        for kind, content in pixels.items():
            (root / 'tnbc' / f'{kind}_{number:02d}').mkdir(parents=True)
            Image.fromarray(content).save(root / 'tnbc' / f'{kind}_{number:02d}' / f'{number:02d}_1.png')
    assert not load_tool('tools/dataset_converters/tnbc.py').main([str(root / 'tnbc'), '--out', str(root / 'TNBC')])
    return root


def loader_of(repo, name, part, converted, **options):
    cfg = Config.fromfile(repo / CONFIGS / f'{name}_nuclei.py')
    loader = cfg[f'{part}_dataloader']
    assert loader.dataset.data_root == cfg.data_root
    loader.dataset.data_root = str(converted / cfg.data_root.removeprefix('data/'))
    loader.update(num_workers=0, persistent_workers=False, pin_memory=False)
    for key, value in options.items():
        loader.dataset.pipeline[1][key] = value
    return Runner.build_dataloader(loader, seed=5)


COUNTS = {'monuseg': (3, 3, 1), 'consep': (3, 3, 1), 'tnbc': (4, 4, 4)}


@pytest.mark.parametrize('name', COUNTS)
def test_training_takes_one_new_crop_of_each_image_in_an_epoch(name, repo, converted):
    loader = loader_of(repo, name, 'train', converted, size=32)

    def epoch(number):
        loader.sampler.set_epoch(number)
        (batch,) = loader
        assert batch['inputs'][0].shape == (COUNTS[name][0], 3, 32, 32)
        crops = {}
        for crop, sample in zip(batch['inputs'][0], batch['data_samples'], strict=True):
            x1, y1, x2, y2 = (int(v) for v in sample.crop_box[0])
            expected = read(sample.img_path)[y1:y2, x1:x2]
            np.testing.assert_array_equal(crop.permute(1, 2, 0).numpy(), expected)
            assert 'gt_instance_map' not in sample
            crops[sample.img_path] = (x1, y1)
        assert len(crops) == COUNTS[name][0]
        return crops

    first = epoch(0)
    assert epoch(0) == first
    assert all(epoch(1)[path] != place for path, place in first.items())


@pytest.mark.parametrize('name', COUNTS)
@pytest.mark.parametrize(('part', 'place'), [('val', 1), ('test', 2)])
def test_evaluation_takes_whole_images_with_their_instances(name, part, place, repo, converted):
    batches = list(loader_of(repo, name, part, converted))
    assert len(batches) == COUNTS[name][place]
    for batch in batches:
        data = ViewDataPreprocessor(mean=(0, 0, 0), std=(255, 255, 255))(batch)
        ((image,), (sample,)) = data['inputs'], data['data_samples']
        labels = read(sample.img_path.replace('/images/', '/instances/'))
        assert image.shape == (1, 3, 75, 90)
        np.testing.assert_allclose(image[0].permute(1, 2, 0).numpy() * 255, read(sample.img_path), atol=1e-4)
        assert sample.gt_instance_map.dtype == torch.int32
        np.testing.assert_array_equal(sample.gt_instance_map.numpy(), labels)
        np.testing.assert_array_equal(sample.gt_mask.numpy(), labels > 0)
        assert sample.gt_mask.any()


def test_instances_go_where_the_image_goes(converted):
    """A supervised crop, flipped and turned: an image that shows its own map stays equal to it."""
    data = NucleiDataset(str(converted / 'MoNuSeg'), list_file='train.txt', pipeline=[LoadPatch(), LoadInstances()])[0]
    data['img'] = np.repeat((data['gt_instance_map'] > 0).astype(np.uint8)[..., None] * 255, 3, axis=2)
    data['rng'] = np.random.default_rng(3)
    for step in (RandomCrop(40), RandomFlip(1.0, 1.0), RandomRotate90(1.0), PackInstances()):
        data = step(data)
    sample = data['data_samples']
    assert sample.gt_mask.shape == (40, 40)
    assert 0 < sample.gt_mask.float().mean() < 1
    assert sample.rot90[0] > 0
    np.testing.assert_array_equal(data['inputs'][0][0].numpy() > 0, sample.gt_mask.numpy())


def test_too_small_an_image_is_named(repo, converted):
    with pytest.raises(
        ValueError, match=r'RandomCrop: .*MoNuSeg/images/.*\.png has 90×75 pixels, expected at least 300'
    ):
        list(loader_of(repo, 'monuseg', 'train', converted))


def test_images_without_maps(converted, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'3 of 3 images have no map of instances, such as .*MoNuSeg/masks/'):
        NucleiDataset(str(converted / 'MoNuSeg'), instances='masks', list_file='train.txt')


def loaded(tmp_path, labels, name='map.png'):
    path = tmp_path / name
    Image.fromarray(labels).save(path)
    return LoadInstances()(dict(img=np.zeros((6, 8, 3), np.uint8), instance_path=str(path)))


def test_maps_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r'LoadInstances: .*map\.png is 8×5, its image is 8×6 pixels'):
        loaded(tmp_path, np.zeros((5, 8), np.uint16))
    with pytest.raises(ValueError, match='holds the number 65536, expected at most 65535'):
        loaded(tmp_path, np.full((6, 8), 65536, np.int32), 'map.tif')
    assert loaded(tmp_path, np.full((6, 8), 65535, np.uint16))['gt_instance_map'].max() == 65535


def test_one_image_at_a_time(tmp_path):
    with pytest.raises(ValueError, match='PackInstances: found several views, expected one image'):
        PackInstances()(dict(views=[], img=None))
