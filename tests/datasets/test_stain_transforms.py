"""Stain normalisation and jitter: against torchstain, worked out stains, and what must not change."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from tool_modules import load_tool
from torch.utils.data import DataLoader

from histomm.datasets import PatchDataset, SampleIndex
from histomm.datasets.stain_statistics import estimate_statistics, read_statistics, write_statistics
from histomm.datasets.synthetic import write_layout
from histomm.datasets.transforms import (
    HEDJitter,
    MacenkoNormalize,
    RandStainNA,
    ReinhardNormalize,
    read_image,
)
from histomm.datasets.transforms.macenko import REFERENCE, find_stains, normalise_stains
from histomm.datasets.transforms.stain_jitter import adjust_stains
from histomm.datasets.transforms.stain_spaces import channel_statistics, to_space
from histomm.registry import TRANSFORMS

WHITE = np.full((32, 32, 3), 245, np.uint8)


@pytest.fixture(scope='module')
def tissue(tmp_path_factory):
    """Nine drawn patches."""
    root = tmp_path_factory.mktemp('tissue')
    return sorted(write_layout('nct', root, 9, 64, seed=0))


@pytest.fixture(scope='module')
def statistics(tissue, tmp_path_factory):
    path = tmp_path_factory.mktemp('statistics') / 'stain.yaml'
    write_statistics(path, estimate_statistics(tissue, ('lab', 'hed'))[0], 9)
    return path


def drawn(tissue, name='TUM'):
    return read_image(next(path for path in tissue if name in str(path)))


def mixture(stains=REFERENCE.matrix, count=64, strength=1.0):
    """An image of two stains in known amounts, among them pixels of each alone."""
    rng = np.random.default_rng(1)
    amounts = rng.uniform(0.8, 1.6, (count * count, 2)) * strength
    amounts[: count * 4, 0] = amounts[count * 4 : count * 8, 1] = 0
    levels = 240 * np.exp(-(amounts @ stains.T)) - 1
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8).reshape(count, count, 3)


def apply(transform, image, index=0, epoch=0):
    return transform(dict(img=image.copy(), sample_idx=SampleIndex(index, 7, epoch), view=1))['img']


# ---- Macenko


def test_known_stains_are_found():
    found = find_stains(mixture())
    cosines = (found.matrix * REFERENCE.matrix).sum(0) / np.linalg.norm(REFERENCE.matrix, axis=0)
    assert (cosines > 0.999).all()


def test_an_image_of_other_stains_becomes_one_of_the_reference():
    """The same amounts in two pairs of stains: normalised, both are what they would be in the reference's."""
    other = np.array([[0.65, 0.35], [0.70, 0.85], [0.29, 0.40]])
    other = other / np.linalg.norm(other, axis=0)
    images = [
        normalise_stains(mixture(stains, strength=s), REFERENCE).astype(int)
        for stains, s in ((REFERENCE.matrix, 1), (other, 0.9))
    ]
    assert np.abs(images[0] - images[1]).mean() < 3
    assert np.abs(mixture(other, strength=0.9).astype(int) - images[0]).mean() > 10


@pytest.mark.parametrize('name', ['TUM', 'STR', 'LYM'])
def test_macenko_is_that_of_torchstain(tissue, name):
    normalizers = pytest.importorskip('torchstain.numpy.normalizers')
    image = drawn(tissue, name)
    theirs = normalizers.NumpyMacenkoNormalizer()
    expected, *_ = theirs.normalize(image, stains=False)
    ours = apply(MacenkoNormalize(), image)
    assert np.abs(ours.astype(int) - expected).max() <= 1
    theirs.fit(image)
    np.testing.assert_allclose(find_stains(image).matrix, theirs.HERef, atol=1e-5)
    np.testing.assert_allclose(find_stains(image).strongest, theirs.maxCRef, rtol=1e-4)


def test_an_image_is_its_own_target(tissue):
    path = next(path for path in tissue if 'TUM' in str(path))
    image = read_image(path)
    found = apply(MacenkoNormalize(target=str(path)), image)
    # what two stains cannot make of the image is lost, as always with them
    assert np.abs(found.astype(int) - image).mean() < 6


# ---- Reinhard


def test_reinhard_is_that_of_torchstain(tissue):
    normalizers = pytest.importorskip('torchstain.numpy.normalizers')
    source, target = drawn(tissue), next(path for path in tissue if 'LYM' in str(path))
    theirs = normalizers.NumpyReinhardNormalizer()
    theirs.fit(read_image(target))
    ours = apply(ReinhardNormalize(target=str(target), space='lab'), source)
    assert np.abs(ours.astype(int) - theirs.normalize(source)).mean() < 1


def test_reinhard_gives_the_published_statistics(tissue):
    found = apply(ReinhardNormalize(), drawn(tissue))
    mean, std = channel_statistics(to_space(found, 'lalphabeta'))
    np.testing.assert_allclose(mean, ReinhardNormalize.MEAN, atol=0.12)  # what is brighter than white is cut off
    np.testing.assert_allclose(std, ReinhardNormalize.STD, atol=0.25)


# ---- images without tissue


@pytest.mark.parametrize('image', [WHITE, np.full((8, 8, 3), 255, np.uint8)], ids=['grey', 'white'])
@pytest.mark.parametrize('kind', ['macenko', 'reinhard', 'randstainna'])
def test_background_stays_as_it_is_and_is_counted(kind, image, statistics):
    transform = dict(
        macenko=MacenkoNormalize, reinhard=ReinhardNormalize, randstainna=lambda: RandStainNA(str(statistics))
    )[kind]()
    for count in (1, 2, 3):
        assert np.array_equal(apply(transform, image), image)
        assert transform.num_unchanged == count


@pytest.mark.parametrize('image', [np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 120, np.uint8)])
def test_flat_dark_images_have_no_two_stains(image):
    transform = MacenkoNormalize(min_stained=0)
    assert np.array_equal(apply(transform, image), image)
    assert transform.num_unchanged == 1


def test_loader_processes_count_too(tmp_path):
    for number in range(6):
        cv2.imwrite(str(tmp_path / f'{number}.png'), WHITE)
    transform = MacenkoNormalize()
    pipeline = [dict(type='histomm.LoadPatch'), transform]
    data = PatchDataset(str(tmp_path), pipeline=pipeline)
    list(DataLoader(data, num_workers=2, collate_fn=list))
    assert transform.num_unchanged == 6


def test_transforms_go_to_other_processes(statistics):
    for transform in (MacenkoNormalize(), ReinhardNormalize(), HEDJitter(), RandStainNA(str(statistics))):
        assert repr(pickle.loads(pickle.dumps(transform))) == repr(transform)


# ---- jitter


def test_no_change_of_stains_is_no_change(tissue):
    image = drawn(tissue)
    assert np.abs(adjust_stains(image, np.ones(3), np.zeros(3)).astype(int) - np.maximum(image, 1)).max() <= 1
    assert np.abs(apply(HEDJitter(0, 0), image).astype(int) - np.maximum(image, 1)).max() <= 1


def test_stains_change_by_what_was_asked():
    image = np.random.default_rng(0).integers([120, 70, 120], [190, 150, 200], (20, 20, 3)).astype(np.uint8)
    factors, shifts = np.array([1.1, 0.9, 1.05]), np.array([0.04, -0.03, 0.02])
    found = to_space(adjust_stains(image, factors, shifts), 'hed')
    np.testing.assert_allclose(found, to_space(image, 'hed') * factors + shifts, atol=0.02)


def test_randstainna_without_spread_gives_the_mean_stain(statistics, tissue, tmp_path):
    content = yaml.safe_load(Path(statistics).read_text())
    del content['spaces']['hed']
    (tmp_path / 'lab.yaml').write_text(yaml.safe_dump(content))
    found = apply(RandStainNA(str(tmp_path / 'lab.yaml'), spread=0), drawn(tissue))
    mean, std = channel_statistics(to_space(found, 'lab'))
    np.testing.assert_allclose(mean, content['spaces']['lab']['mean_of_means'], atol=1)
    np.testing.assert_allclose(std, content['spaces']['lab']['mean_of_stds'], atol=1)


def test_randstainna_never_takes_all_contrast_away(tissue, tmp_path):
    means, spread = [60.0, 20.0, -15.0], [8.0, 6.0, 5.0]
    wild = dict(mean_of_means=means, std_of_means=[0.0] * 3, mean_of_stds=spread, std_of_stds=[100.0, 0.0, 0.0])
    (tmp_path / 'wild.yaml').write_text(yaml.safe_dump(dict(spaces=dict(lab=wild))))
    transform = RandStainNA(str(tmp_path / 'wild.yaml'))
    flattest = np.min(
        [channel_statistics(to_space(apply(transform, drawn(tissue), index), 'lab'))[1] for index in range(20)], axis=0
    )
    np.testing.assert_allclose(flattest[0], 2, atol=0.3)  # a quarter of 8, which some draws are held at


@pytest.mark.parametrize('kind', ['hed', 'randstainna'])
def test_draws_depend_on_seed_epoch_and_sample(kind, statistics, tissue):
    transform = HEDJitter() if kind == 'hed' else RandStainNA(str(statistics))
    image = drawn(tissue)
    first = apply(transform, image, 1, 0)
    assert np.array_equal(apply(transform, image, 1, 0), first)
    assert not np.array_equal(apply(transform, image, 2, 0), first)
    assert not np.array_equal(apply(transform, image, 1, 1), first)


@pytest.mark.parametrize('kind', ['hed', 'randstainna'])
def test_probability_zero_leaves_all_as_it_is(kind, statistics, tissue):
    transform = HEDJitter(prob=0) if kind == 'hed' else RandStainNA(str(statistics), prob=0)
    assert np.array_equal(apply(transform, drawn(tissue)), drawn(tissue))


# ---- statistics of a data set


def test_statistics_are_those_of_the_images_written_out(tissue):
    found, pale = estimate_statistics(tissue, ('lab',))
    values = [
        cv2.cvtColor(read_image(path).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        for path in tissue
        if path not in pale
    ]
    means, stds = (np.array([f(v, axis=(0, 1), dtype=np.float64) for v in values]) for f in (np.mean, np.std))
    np.testing.assert_allclose(found['lab'], [means.mean(0), means.std(0), stds.mean(0), stds.std(0)], rtol=1e-5)


def test_tool_writes_what_the_transform_reads(tissue, tmp_path, capsys):
    root = tmp_path / 'patches'
    root.mkdir()
    for number, path in enumerate(tissue[:5]):
        cv2.imwrite(str(root / f'{number}.png'), cv2.imread(str(path)))
    cv2.imwrite(str(root / 'white.png'), WHITE)
    out = tmp_path / 'stain.yaml'
    tool = load_tool('tools/analysis/stain_statistics.py')
    tool.main([str(root), '--out', str(out), '--spaces', 'lab', 'hsv'])
    text = capsys.readouterr().out
    assert 'lab, hsv of' in text
    assert 'too little stained tissue' in text
    assert set(read_statistics(out)) == {'lab', 'hsv'}
    transform = TRANSFORMS.build(dict(type='histomm.RandStainNA', statistics=str(out)))
    assert apply(transform, drawn(tissue)).dtype == np.uint8


@pytest.mark.parametrize(
    ('make', 'error', 'message'),
    [
        (
            lambda p: MacenkoNormalize(target='none.png'),
            FileNotFoundError,
            'MacenkoNormalize: target none.png does not',
        ),
        (lambda p: MacenkoNormalize(target=str(p / 'white.png')), ValueError, 'shows too little of two stains'),
        (lambda p: MacenkoNormalize(min_stained=2), ValueError, 'min_stained is 2, expected a share'),
        (lambda p: ReinhardNormalize(space='rgb'), ValueError, "space is 'rgb', expected one of lab"),
        (lambda p: ReinhardNormalize(space='lab'), ValueError, 'mean is None and std None in lab, expected three'),
        (lambda p: ReinhardNormalize(mean=(1, 2), std=(1, 2, 3)), ValueError, r'mean is \(1, 2\) and std'),
        (lambda p: ReinhardNormalize(mean=(1, 2, 3), target='a'), ValueError, "found target 'a' and mean or std"),
        (lambda p: HEDJitter(factor=1), ValueError, 'factor is 1 and shift 0.05, expected'),
        (lambda p: HEDJitter(prob=2), ValueError, 'HEDJitter: prob is 2'),
        (lambda p: RandStainNA('none.yaml'), FileNotFoundError, 'write them with tools/analysis/stain_statistics.py'),
        (lambda p: RandStainNA(str(p / 'empty.yaml')), ValueError, 'found no colour spaces'),
        (lambda p: RandStainNA(str(p / 'other.yaml')), ValueError, "space 'rgb' has"),
        (lambda p: estimate_statistics([str(p / 'white.png')]), ValueError, '0 of 1 images show stained tissue'),
        (lambda p: estimate_statistics([], ('rgb',)), ValueError, r"spaces are \['rgb'\], expected some of lab"),
    ],
)
def test_wrong_arguments_are_named(make, error, message, tmp_path):
    cv2.imwrite(str(tmp_path / 'white.png'), WHITE)
    (tmp_path / 'empty.yaml').write_text('num_images: 3\n')
    (tmp_path / 'other.yaml').write_text('spaces: {rgb: {mean: [1, 2, 3]}}\n')
    with pytest.raises(error, match=message):
        make(tmp_path)


def test_negative_spread_is_named(statistics):
    with pytest.raises(ValueError, match='spread is -1, expected'):
        RandStainNA(str(statistics), spread=-1)


def test_picture_shows_what_the_transforms_make(tissue, statistics, tmp_path, capsys):
    tool = load_tool('tools/analysis/visualize_stain.py')
    arguments = [str(tissue[0]), '--statistics', str(statistics), '--target', str(tissue[-1])]
    tool.main([*arguments, '--out', str(tmp_path / 'stain.png')])
    assert '15 changes of the stain' in capsys.readouterr().out
    assert read_image(str(tmp_path / 'stain.png')).shape[1] > 1000
    with pytest.raises(SystemExit, match='has the suffix'):
        tool.main([*arguments, '--out', str(tmp_path / 'stain.txt')])
