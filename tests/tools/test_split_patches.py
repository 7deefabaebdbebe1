"""Lists of splits are disjoint and complete, and patients stay together."""

import csv

import pytest
from feature_files import tool
from small_runs import draw_patches
from tool_modules import load_tool

from histomm.datasets.synthetic import write_layout
from histomm.datasets.transforms import read_image


@pytest.fixture(scope='module')
def patches(tmp_path_factory):
    return draw_patches(tmp_path_factory.mktemp('drawn'), num=36, size=32)


def test_lists_are_disjoint_and_patients_stay_together(patches, tmp_path, capsys):
    tool(
        'split_patches', patches, '--parts', 'train=50', 'val=25', 'test=25', '--groups', r'^(\w+)/', '--fractions', 20,
        '--draws', 2, '--out', tmp_path,
    )  # fmt: skip
    found = {path.stem: list(csv.DictReader(path.open())) for path in tmp_path.glob('*.csv')}
    assert sorted(found) == ['test', 'train', 'train_20_0', 'train_20_1', 'val']
    paths = [row['path'] for name in ('train', 'val', 'test') for row in found[name]]
    assert len(paths) == len(set(paths)) == 36
    assert all(row['label'] == row['path'].partition('/')[0] for row in found['train'])
    assert all((patches / path).is_file() and read_image(str(patches / path)) is not None for path in paths)
    folders = [{row['path'].partition('/')[0] for row in found[name]} for name in ('train', 'val', 'test')]
    assert folders[0].isdisjoint(folders[1] | folders[2])
    assert {row['path'] for row in found['train_20_0']} < {row['path'] for row in found['train']}


def test_values_keep_their_numbers(patches, tmp_path):
    names = sorted(str(path.relative_to(patches)) for path in patches.rglob('*.tif'))
    (patches / 'values.csv').write_text('path,label\n' + ''.join(f'{n},{i + 0.5}\n' for i, n in enumerate(names)))
    tool('split_patches', patches, '--list', 'values.csv', '--values', '--out', tmp_path)
    rows = [row for path in tmp_path.glob('*.csv') for row in csv.DictReader(path.open())]
    assert sorted((row['path'], float(row['label'])) for row in rows) == [(n, i + 0.5) for i, n in enumerate(names)]


@pytest.mark.parametrize('part', ['train', 'train=half', '=50', 'train=0'])
def test_wrong_parts_are_refused(part, patches, tmp_path):
    with pytest.raises(SystemExit, match=r'split_patches: .*(expected NAME=SHARE|above 0)'):
        tool('split_patches', patches, '--parts', part, 'val=25', '--out', tmp_path)


def test_the_converter_of_nct_draws_the_same_lists(tmp_path):
    write_layout('nct', tmp_path / 'nct', 72, 32)
    assert load_tool('tools/dataset_converters/nct.py').main([str(tmp_path / 'nct'), '--out', str(tmp_path / 'a')]) == 0
    words = [str(tmp_path / 'nct'), '--parts', 'train=75', 'val=25', '--fractions', '5', '10', '20', '50']
    load_tool('tools/split_patches.py').main([*words, '--out', str(tmp_path / 'b')])
    lists = sorted((tmp_path / 'b').glob('*.csv'))
    assert len(lists) == 22
    for path in lists:
        rows = [line.rsplit(',', 1)[0] for line in (tmp_path / 'a' / path.name).read_text().splitlines()]
        assert path.read_text().splitlines() == rows, path.name
