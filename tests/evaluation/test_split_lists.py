"""Lists of splits: who is in which, whose patients are where, and what the draws of labels hold."""

import csv
import json
from collections import Counter

import pytest

from histomm.datasets import PatchDataset, ValuePatchDataset
from histomm.datasets.label_maps import ConversionError
from histomm.evaluation.split_lists import Sample, draw_lists, write_lists

PARTS = ('train', 'val', 'test')


def samples_of(counts, per_group=4):
    return [
        Sample(f'{label}/{number:03d}.png', label, f'{label}{number // per_group}')
        for label, count in counts.items()
        for number in range(count)
    ]


def rows(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def labels(samples, chosen):
    return Counter(samples[row].label for row in chosen)


def test_parts_hold_every_image_once_in_the_shares_of_each_class():
    samples = samples_of(dict(a=40, b=20))
    drawn = draw_lists(samples, seed=3)
    together = sorted(row for name in PARTS for row in drawn[name].tolist())
    assert together == list(range(60))
    assert [labels(samples, drawn[name]) for name in PARTS] == [dict(a=20, b=10), dict(a=10, b=5), dict(a=10, b=5)]


def test_no_group_is_in_two_parts():
    samples = samples_of(dict(a=80, b=48))
    drawn = draw_lists(samples, seed=0, by_group=True)
    found = [{samples[row].group for row in drawn[name].tolist()} for name in PARTS]
    for one in range(3):
        for other in range(one):
            assert not found[one] & found[other]
    assert sum(len(groups) for groups in found) == 32
    assert all(set(labels(samples, drawn[name])) == {'a', 'b'} for name in PARTS)
    by_image = draw_lists(samples, seed=0)
    shared = {samples[row].group for row in by_image['train']} & {samples[row].group for row in by_image['test']}
    assert shared, 'a split by image does not know the groups'


def test_portions_are_so_many_of_each_class_and_lie_in_each_other():
    """60 : 20 : 20 of 100 images of each of four classes, and 5 to 100 % of the training ones."""
    samples = samples_of(dict(b=100, iv=100, i=100, n=100))
    parts, portions = dict(train=60, val=20, test=20), (3, 6, 12, 24, 36, 48, 60)
    drawn = draw_lists(samples, seed=47, parts=parts, portions=portions)
    assert list(drawn) == [*PARTS, *(f'train_{count}_each' for count in portions)]
    for part, count in parts.items():
        assert labels(samples, drawn[part]) == dict(b=count, iv=count, i=count, n=count)
    smaller = set()
    for count in portions:
        rows = set(drawn[f'train_{count}_each'].tolist())
        assert labels(samples, rows) == dict(b=count, iv=count, i=count, n=count)
        assert smaller < rows
        smaller = rows
    assert smaller == set(drawn['train'].tolist())
    again, other = (draw_lists(samples, seed=seed, parts=parts, portions=[3]) for seed in (47, 86))
    assert again['train_3_each'].tolist() == drawn['train_3_each'].tolist() != other['train_3_each'].tolist()


def test_portions_that_cannot_be_drawn():
    samples = samples_of(dict(a=40, b=20))
    with pytest.raises(ConversionError, match='b has 10 training images, expected 12 or more for the portion of 12'):
        draw_lists(samples, seed=0, portions=[3, 12])
    with pytest.raises(ConversionError, match='a portion is 0 images of each class, expected 1 or more, and classes'):
        draw_lists(samples, seed=0, portions=[0])
    numbers = [Sample(f'{row}.png', float(row)) for row in range(20)]
    with pytest.raises(ConversionError, match='expected 1 or more, and classes'):
        draw_lists(numbers, seed=0, portions=[3])


def test_draws_hold_their_share_of_each_class_and_lie_in_each_other():
    samples = samples_of(dict(a=160, b=40, c=8))
    drawn = draw_lists(samples, seed=1)
    # Of 80, 20 and 4 training images; where a share is less than one image, one is taken.
    expected = {5: dict(a=4, b=1, c=1), 10: dict(a=8, b=2, c=1), 20: dict(a=16, b=4, c=1), 50: dict(a=40, b=10, c=2)}
    for draw in range(5):
        larger = set(drawn['train'].tolist())
        for percent in (50, 20, 10, 5):
            chosen = drawn[f'train_{percent}_{draw}'].tolist()
            assert labels(samples, chosen) == expected[percent]
            assert set(chosen) <= larger
            larger = set(chosen)
    assert len({tuple(drawn[f'train_10_{draw}'].tolist()) for draw in range(5)}) == 5


def test_the_seed_decides_alone(tmp_path):
    samples = samples_of(dict(a=40, b=20))
    for name, seed in (('one', 0), ('same', 0), ('other', 1)):
        write_lists(tmp_path / name, samples, dict(dataset='x'), seed)
    content = {name: {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ('one', 'same', 'other')}
    assert content['one'] == content['same']
    assert content['one']['train.csv'] != content['other']['train.csv']


def test_lists_are_what_the_data_sets_read(tmp_path):
    samples = samples_of(dict(a=16, b=16))
    for sample in samples:
        (tmp_path / sample.path).parent.mkdir(exist_ok=True)
        (tmp_path / sample.path).touch()
    write_lists(tmp_path / 'splits', samples, dict(dataset='x'), 0)
    data = PatchDataset(str(tmp_path), 'splits/val.csv', with_labels=True, classes=('b', 'a'))
    expected = {row['path']: 'ba'.index(row['label']) for row in rows(tmp_path / 'splits/val.csv')}
    assert len(expected) == len(data) == 8
    for index in range(8):
        info = data.get_data_info(index)
        assert info['gt_label'] == expected[info['img_path'].removeprefix(f'{tmp_path}/')]
    values = [sample._replace(label=12.5) for sample in samples]
    write_lists(tmp_path / 'values', values, dict(dataset='x'), 0)
    data = ValuePatchDataset(data_root=str(tmp_path), list_file='values/test.csv')
    assert [data.get_data_info(index)['gt_score'].tolist() for index in range(len(data))] == [[12.5]] * 8


def test_the_folder_says_what_it_holds_and_refuses_other_options(tmp_path, capsys):
    samples, out = samples_of(dict(a=40, b=20)), tmp_path / 'splits'
    write_lists(out, samples, dict(dataset='x'), 5, by_group=True)
    recipe = json.loads((out / 'conversion.json').read_text())
    assert (recipe['dataset'], recipe['seed'], recipe['by_group'], recipe['images']) == ('x', 5, True, 60)
    for row in rows(out / 'summary.csv'):
        listed = rows(out / f'{row["list"]}.csv')
        counts = Counter(entry['label'] for entry in listed)
        assert (int(row['images']), int(row['a']), int(row['b'])) == (len(listed), counts['a'], counts['b'])
        assert int(row['groups']) == len({entry['group'] for entry in listed})
    capsys.readouterr()
    write_lists(out, samples, dict(dataset='x'), 5, by_group=True)
    assert 'holds these lists already' in capsys.readouterr().out
    with pytest.raises(ConversionError, match='holds what other data or options gave; choose a new or empty folder'):
        write_lists(out, samples[1:], dict(dataset='x'), 5, by_group=True)


def test_what_is_told_of_a_split(tmp_path, capsys):
    write_lists(tmp_path / 'a', samples_of(dict(a=40, b=2)), dict(dataset='x'), 0)
    said = capsys.readouterr().out
    assert 'groups are in more than one part, as the split is by image' in said
    assert 'has no image of b; draw with another --seed' in said


@pytest.mark.parametrize(
    ('samples', 'message'),
    [
        (samples_of(dict(a=9)) * 2, r'a/000\.png is there twice'),
        ([Sample(f'{n}.png', 'a') for n in range(9)], r'0\.png has no group'),
        (samples_of(dict(a=9)), '9 images are too few to split: 3 groups cannot be cut into 4 folds'),
    ],
)
def test_bad_samples(samples, message):
    with pytest.raises(ConversionError, match=message):
        draw_lists(samples, 0, by_group=True)


@pytest.mark.parametrize('parts', [dict(train=60, val=0, test=40), dict(train=1)])
def test_shares_that_are_none_are_told_as_such(parts):
    with pytest.raises(ConversionError, match=r'^the shares of the parts are \{.*\}, expected two or more, each of 1'):
        draw_lists(samples_of(dict(a=9)), 0, parts=parts)
