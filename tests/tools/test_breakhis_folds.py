"""The converter of the folds of BreakHis: lists of the real folders' names, notes, and what is refused."""

import csv
from pathlib import Path

import pytest
from tool_modules import REPO, load_tool

from histomm.datasets.breakhis import SUBTYPES, parse_folder, parse_name

TABLES = REPO / 'configs/breakhis'


def touch(root, folder, magnifications=(40, 100, 200, 400), numbers=(1,)):
    found = parse_folder(folder)
    kind, _, slide = folder.rpartition('_')
    for magnification in magnifications:
        place = root / found.label / 'SOB' / SUBTYPES[found.subtype] / folder / f'{magnification}X'
        place.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            (place / f'{kind}-{slide}-{magnification}-{number:03d}.png').touch()


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Every real folder with a name of an image at each magnification, but one that has none at 40X."""
    root = tmp_path_factory.mktemp('BreaKHis_v1')
    for row in rows(TABLES / 'folds_patient.csv'):
        touch(root, row['folder'], (100, 200, 400) if row['folder'] == 'SOB_M_DC_14-4364' else (40, 100, 200, 400))
    return root


def rows(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def convert(*arguments):
    tool = load_tool('tools/dataset_converters/breakhis_folds.py')
    return tool.main([str(argument) for argument in arguments])


def patients(path, group_by='patient'):
    return {getattr(parse_name(Path(row['path']).name), group_by) for row in rows(path)}


@pytest.mark.parametrize('group_by', ['patient', 'case'])
def test_the_table_and_the_draw_give_the_same_disjoint_lists(data, tmp_path, capsys, group_by):
    drawn, tabled = tmp_path / 'drawn', tmp_path / 'tabled'
    assert convert(data, '--group-by', group_by, '--out', drawn) == 0
    assert 'note: 1 of 82 folders have no image at 40X, such as SOB_M_DC_14-4364' in capsys.readouterr().out
    assert convert(data, '--group-by', group_by, '--table', TABLES / f'folds_{group_by}.csv', '--out', tabled) == 0
    lists = {path.relative_to(drawn): path.read_bytes() for path in drawn.rglob('*.csv')}
    assert lists == {path.relative_to(tabled): path.read_bytes() for path in tabled.rglob('*.csv')}
    assert lists[Path('folds.csv')] == (TABLES / f'folds_{group_by}.csv').read_bytes()
    assert len(lists) == 5 * 5 * 5 + 2
    everybody, tested = set(), []
    for fold in range(5):
        found = [
            patients(drawn / f'fold{fold}' / f'{part}.csv', group_by) for part in ('train_60', 'val_20', 'test_20')
        ]
        assert sum(map(len, found)) == len(set().union(*found))
        everybody |= set().union(*found)
        tested += found[2]
    assert sorted(tested) == sorted(everybody)


def test_lists_are_what_the_data_sets_read(data, capsys):
    assert convert(data) == 0
    assert 'fold4/test_20.csv: 68 images of 16 patients' in capsys.readouterr().out
    found = rows(data / 'folds_patient/fold1/val_20_100X.csv')
    assert all(parse_name(Path(row['path']).name).magnification == 100 for row in found)
    assert all((data / row['path']).is_file() and row['path'].startswith(row['label']) for row in found)
    table = {row['folder']: row['fold'] for row in rows(TABLES / 'folds_patient.csv')}
    assert {table[Path(row['path']).parts[-3]] for row in found} == {'2'}
    summary = {row['list']: row for row in rows(data / 'folds_patient/summary.csv')}
    assert int(summary['fold1/val_20_100X']['images']) == len(found)
    assert convert(data) == 0
    assert 'holds these lists already' in capsys.readouterr().out
    assert convert(data, '--seed', '1') == 1
    assert 'choose a new or empty folder' in capsys.readouterr().err


def test_a_part_of_the_data_set_keeps_its_folds(tmp_path, capsys):
    """With the table, whoever is there is where they are in the whole."""
    table = rows(TABLES / 'folds_patient.csv')
    some = [row for fold in '01234' for half in '01' for row in table if (row['fold'], row['half']) == (fold, half)][
        ::3
    ]
    for row in some:
        touch(tmp_path, row['folder'], (40,))
    assert convert(tmp_path, '--table', TABLES / 'folds_patient.csv') == 0
    said = capsys.readouterr().out
    assert f'note: {82 - len(some)} of the 82 folders of the table have no image here' in said
    assert f'note: {len(some)} of {len(some)} folders have no image at 400X' in said
    assert 'note: 75 lists would have no image and were not written, such as fold0/train_60_100X.csv' in said
    assert not [*tmp_path.rglob('*_400X.csv')]
    folds = {row['folder']: row['fold'] for row in table}
    for fold in range(5):
        found = rows(tmp_path / f'folds_patient/fold{fold}/test_20.csv')
        assert {folds[Path(row['path']).parts[-3]] for row in found} == {str(fold)}


def test_lists_that_share_a_patient_are_refused(data, tmp_path, capsys):
    for name, folders in (('train', ['SOB_M_DC_14-13412', 'SOB_B_F_14-21998CD']), ('test', ['SOB_B_F_14-21998EF'])):
        paths = sorted(path for folder in folders for path in data.glob(f'*/SOB/*/{folder}/*/*.png'))
        (tmp_path / f'{name}.csv').write_text('\n'.join(['path', *(str(path.relative_to(data)) for path in paths), '']))
    lists = [str(tmp_path / f'{name}.csv') for name in ('train', 'test')]
    assert convert(data, '--check', *lists) == 0
    assert f'{lists[0]}: 8 images of 2 patients who are in none of the other lists' in capsys.readouterr().out
    assert convert(data, '--check', *lists, '--group-by', 'case') == 1
    said = capsys.readouterr().err
    assert f'patient 14-21998 is in {lists[0]} (' in said
    assert f'and in {lists[1]} (' in said
    other = Path('malignant/SOB/lobular_carcinoma/SOB_M_LC_14-13412/40X/SOB_M_LC-14-13412-40-001.png')
    with open(lists[1], 'a') as file:
        file.write(f'{other}\n')
    assert convert(data, '--check', *lists) == 1
    assert f'patient 14-13412 is in {lists[0]} (' in (said := capsys.readouterr().err)
    assert said.rstrip().endswith(f'{other}), expected one list for a patient; take the images out of one of them')


def test_bad_input_is_told_in_one_sentence(data, tmp_path, capsys):
    (tmp_path / 'folds.csv').write_text(
        'folder,subtype,fold,half\nSOB_M_DC_14-13412,DC,1,0\nSOB_M_LC_14-13412,LC,3,0\n'
    )
    cases = [
        ((data, '--table', tmp_path / 'folds.csv'), 'patient 14-13412 is in fold 1 (SOB_M_DC_14-13412) and in fold 3'),
        (
            (data, '--table', TABLES / 'folds_patient.csv', '--group-by', 'case'),
            'patient 14-22549 is in fold 0 (SOB_B_A_14-22549AB) and in fold 3',
        ),
        ((data, '--table', tmp_path / 'none.csv'), 'none.csv is no file, expected a table of folds'),
    ]
    for arguments, message in cases:
        assert convert(*arguments, '--out', tmp_path / 'out') == 1
        said = capsys.readouterr().err
        assert message in said
        assert said.count('\n') == 1
    assert convert(data, '--check', 'none.csv', 'other.csv') == 1
    assert 'breakhis_folds: ' in (said := capsys.readouterr().err)
    assert 'none.csv' in said
    root = tmp_path / 'strange'
    touch(root, 'SOB_B_F_14-1')
    assert convert(root, '--table', TABLES / 'folds_patient.csv') == 1
    assert 'has no row for SOB_B_F_14-1, of which benign/SOB/' in capsys.readouterr().err
    assert convert(root) == 1
    assert '1 patients are too few for 5 folds' in capsys.readouterr().err
    (root / 'benign/picture.png').touch()
    assert convert(root) == 1
    assert 'picture.png is no name of BreakHis' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('--table folds.csv --seed 0', '--table takes the folds from a table, and --seed draws them'),
        ('--check a.csv b.csv --table folds.csv', '--check compares lists and writes nothing'),
        ('--check a.csv b.csv --seed 0', '--check compares lists and writes nothing'),
        ('--check a.csv b.csv --out folds', '--check compares lists and writes nothing'),
        ('--check a.csv', 'found a.csv; give two or more, each once'),
        ('--check a.csv ./a.csv', 'found a.csv ./a.csv; give two or more, each once'),
    ],
)
def test_options_that_would_be_ignored_are_refused(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit):
        convert(tmp_path, *words.split())
    assert message in capsys.readouterr().err
