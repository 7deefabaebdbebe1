"""Shares of many data sets: exact counts, and draws that depend on seed and name alone."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from mmengine.dataset import ConcatDataset

from histomm.datasets import PatchCollection, SeededSampler
from histomm.datasets.patch_collection import draw_images, subset_size

SIZES = {'big': 300, 'medium': 40, 'small': 4}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Three data sets of empty files; nothing here reads an image."""
    root = tmp_path_factory.mktemp('collection')
    for name, size in SIZES.items():
        for number in range(size):
            path = root / name / ('10x', '20x', '40x')[number % 3] / f'{number}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def drawn(root, **options):
    """Names of the images below the root, with their data set."""
    data = PatchCollection(str(root), **options)
    return [str(Path(data.get_data_info(i)['img_path']).relative_to(root)) for i in range(len(data))]


def counts(paths):
    return dict(Counter(path.partition('/')[0] for path in paths))


@pytest.mark.parametrize(
    ('count', 'options', 'expected'),
    [
        (100_000, (0.01, 10, 2000), 1000),
        (300_000, (0.01, 10, 2000), 2000),
        (500, (0.01, 10, 2000), 10),
        (7, (0.01, 10, 2000), 7),
        (250, (0.1, 10, 2000), 25),
        (255, (0.1, 10, 2000), 26),  # 25.5, half up
        (1_000_000, (0.0001, 10, 10), 10),  # "0.01%": ten of each
        (41, (1.0, 0, None), 41),
    ],
)
def test_sizes_worked_out_by_hand(count, options, expected):
    assert subset_size(count, *options) == expected


def test_everything_without_a_share(root):
    assert counts(drawn(root)) == SIZES


def test_counts_of_shares_and_bounds(root):
    assert counts(drawn(root, fraction=0.1, min_images=10, max_images=20)) == {'big': 20, 'medium': 10, 'small': 4}
    assert counts(drawn(root, min_images=10, max_images=10)) == {'big': 10, 'medium': 10, 'small': 4}


def test_rules_of_single_data_sets(root):
    rules = dict(big=dict(include=['10x/*', '40x/*'], max_images=None), small=dict(max_images=1))
    paths = drawn(root, fraction=0.5, max_images=20, rules=rules)
    assert counts(paths) == {'big': 100, 'medium': 20, 'small': 1}
    assert {path.split('/')[1] for path in paths if path.startswith('big')} == {'10x', '40x'}


def test_names_and_patterns(root):
    assert counts(drawn(root, names=['b*', 'small'])) == {'big': 300, 'small': 4}


def test_a_total_is_drawn_from_the_shares(root):
    shares = drawn(root, fraction=0.5)
    paths = drawn(root, fraction=0.5, total=100)
    assert len(paths) == 100
    assert set(paths) < set(shares)
    data = PatchCollection(str(root), fraction=0.5, total=100)
    assert {name: taken for name, (taken, _) in data.drawn_images.items()} == counts(paths)


def test_a_smaller_share_is_part_of_a_larger_one(root):
    small, large = (set(drawn(root, fraction=share)) for share in (0.1, 0.4))
    assert small < large


def test_seed_and_name_decide_and_nothing_else(root, tmp_path):
    def of_big(folder, **options):
        return [path for path in drawn(folder, fraction=0.1, **options) if path.startswith('big/')]

    assert of_big(root) == of_big(root)
    assert of_big(root) != of_big(root, subset_seed=1)
    moved = tmp_path / 'elsewhere'
    shutil.copytree(root / 'big', moved / 'big')
    assert of_big(moved) == of_big(root)  # another place, and no other data sets beside it
    shutil.copytree(root / 'big', moved / 'copy')
    numbers = [{Path(path).name for path in drawn(moved, fraction=0.1, names=[name])} for name in ('big', 'copy')]
    assert numbers[0] != numbers[1]


def test_new_images_displace_few(root):
    names = [f'{number}' for number in range(1000)]
    before, after = draw_images(names, 100, 0), draw_images([*names, 'a', 'b'], 100, 0)
    assert len(before - after) <= 2


def test_each_image_is_as_likely():
    """Over 2,000 seeds, of ten names three are taken: each 600 times, give or take five standard deviations."""
    taken = Counter(name for seed in range(2000) for name in draw_images([*'abcdefghij'], 3, seed))
    assert all(abs(taken[name] - 600) < 5 * (2000 * 0.3 * 0.7) ** 0.5 for name in 'abcdefghij')


def test_several_roots_and_labels(root, tmp_path):
    (tmp_path / 'big').mkdir()
    (tmp_path / 'big' / 'more.png').touch()
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / '1.png').touch()
    data = PatchCollection([str(root), str(tmp_path)], with_labels=True)
    assert data.metainfo['classes'] == ('big', 'medium', 'other', 'small')
    assert data.drawn_images == {'big': (301, 301), 'medium': (40, 40), 'other': (1, 1), 'small': (4, 4)}


def test_excluded_images_do_not_count(root):
    data = PatchCollection(str(root), fraction=0.1, exclude=['big/10x/*'])
    assert data.drawn_images['big'] == (20, 200)


def test_collections_can_be_joined(root):
    """mmengine's ConcatDataset hands on the index that knows seed and epoch."""
    parts = [dict(names=['big'], fraction=0.1), dict(names=['medium'], max_images=5)]
    joined = ConcatDataset([PatchCollection(str(root), pipeline=[dict], **part) for part in parts])
    found = [joined[index] for index in SeededSampler(joined, shuffle=False, seed=3)]
    assert counts(str(Path(sample['img_path']).relative_to(root)) for sample in found) == {'big': 30, 'medium': 5}
    numbers = [(s['sample_idx'].seed, s['sample_idx'].drawn, int(s['sample_idx'])) for s in found]
    assert numbers == [(3, i, i if i < 30 else i - 30) for i in range(35)]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(fraction=0), r'gives 0, 0 and None, expected a share in \(0, 1\]'),
        (dict(min_images=5, max_images=3), r'gives 1.0, 5 and 3, expected .* min_images <= max_images'),
        (dict(rules=dict(big=dict(share=1))), r"rules\['big'\] has the field 'share', expected some of fraction"),
        (dict(rules=dict(big=dict(fraction=2))), r"rules\['big'\] gives 2, 0 and None"),
        (dict(total=0), 'total is 0, expected'),
        (dict(names=['none*']), r"found no data set 'none\*' in .*, expected one of big, medium, small"),
        (dict(rules=dict(none={})), "found no data set 'none'"),
        (dict(rules=dict(big=dict(include=['5x/*']))), r"include \['5x/\*'\] of 'big' matches none of its images"),
        (dict(list_file='a.txt'), 'list_file is set, expected folders'),
    ],
)
def test_wrong_arguments_are_named(root, options, message):
    with pytest.raises(ValueError, match=f'PatchCollection: .*{message}'):
        PatchCollection(str(root), **options)


def test_images_outside_of_data_sets_are_refused(tmp_path):
    (tmp_path / 'loose.png').touch()
    with pytest.raises(ValueError, match=r'loose.png lies in no folder of a data set, expected'):
        PatchCollection(str(tmp_path))
