"""Folds of BreakHis: every patient in one, subtypes in proportion, the committed tables, and what is refused."""

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from histomm.datasets.breakhis import parse_folder, parse_name
from histomm.datasets.label_maps import ConversionError
from histomm.evaluation.patient_folds import FoldRow, draw_folds, fold_lists, parts_of_fold, read_folds

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/breakhis'
FOLDERS = {'A': 4, 'F': 10, 'PT': 3, 'TA': 7, 'DC': 38, 'LC': 5, 'MC': 9, 'PC': 6}

each_table = pytest.mark.parametrize('group_by', ['patient', 'case'])


def table(group_by):
    return read_folds(CONFIGS / f'folds_{group_by}.csv', group_by)


@each_table
def test_the_committed_table_has_the_82_folders_and_is_the_draw_of_seed_0(group_by):
    rows = table(group_by)
    assert len({row.folder for row in rows}) == len(rows) == 82
    assert Counter(row.subtype for row in rows) == FOLDERS
    folders = [row.folder for row in rows]
    assert draw_folds(reversed(folders), group_by, seed=0) == rows
    assert draw_folds(folders, group_by, seed=1) != rows


@each_table
def test_no_patient_is_in_two_parts_of_a_fold(group_by):
    rows = table(group_by)
    tested = Counter()
    for fold in range(5):
        parts = parts_of_fold(rows, fold)
        patients = {
            name: {getattr(parse_folder(folder), group_by) for folder in folders} for name, folders in parts.items()
        }
        for names in (('train_60', 'val_20', 'test_20'), ('train_70', 'val_10', 'test_20')):
            together = set().union(*(patients[name] for name in names))
            assert sum(len(patients[name]) for name in names) == len(together), 'a patient in two parts'
            assert sum(len(parts[name]) for name in names) == 82
        assert patients['val_10'] < patients['val_20']
        assert patients['train_60'] < patients['train_70']
        total = {'patient': 81, 'case': 70}[group_by]
        shares = [len(patients[name]) / total for name in ('train_60', 'val_20', 'test_20', 'train_70', 'val_10')]
        assert shares == pytest.approx([0.6, 0.2, 0.2, 0.7, 0.1], abs=0.02)
        tested.update(patients['test_20'])
    assert set(tested.values()) == {1}


def test_subtypes_are_dealt_out_evenly():
    """Up to one patient; 14-13412 counts for lobular carcinoma, which has five patients and not 38."""
    counts = defaultdict(Counter)
    for row in table('patient'):
        if row.folder != 'SOB_M_DC_14-13412':
            counts[row.subtype][row.fold] += 1
    assert sum(counts['DC'].values()) == 37
    for subtype, found in counts.items():
        assert max(found.values()) - min(found[fold] for fold in range(5)) <= 1, subtype
    assert set(counts['LC'].values()) == {1}


def test_folders_of_a_patient_and_slides_of_a_case_stay_together():
    places = {group_by: {row.folder: row[2:] for row in table(group_by)} for group_by in ('patient', 'case')}
    for found in places.values():
        assert found['SOB_M_DC_14-13412'] == found['SOB_M_LC_14-13412']
    related = ('SOB_B_PT_14-21998AB', 'SOB_B_F_14-21998CD', 'SOB_B_F_14-21998EF')
    assert len({places['case'][folder] for folder in related}) == 1
    assert len({places['patient'][folder] for folder in related}) > 1


def write(path, *lines):
    path.write_text('\n'.join(('folder,subtype,fold,half', *lines, '')))
    return path


@pytest.mark.parametrize(
    ('lines', 'group_by', 'message'),
    [
        (
            ('SOB_M_DC_14-13412,DC,2,0', 'SOB_M_LC_14-13412,LC,4,0'),
            'patient',
            r'folds\.csv: patient 14-13412 is in fold 2 \(SOB_M_DC_14-13412\) and in fold 4 \(SOB_M_LC_14-13412\)',
        ),
        (
            ('SOB_M_DC_14-13412,DC,2,0', 'SOB_M_LC_14-13412,LC,2,1'),
            'patient',
            r'patient 14-13412 is in half 0 \(SOB_M_DC_14-13412\) and in half 1 \(SOB_M_LC_14-13412\) of fold 2',
        ),
        (
            ('SOB_B_F_14-21998CD,F,0,0', 'SOB_B_F_14-21998EF,F,1,0'),
            'case',
            r'patient 14-21998 is in fold 0 .* and in fold 1 ',
        ),
        (('SOB_B_F_14-1,F,0,0', 'SOB_B_F_14-1,F,0,0'), 'patient', 'names SOB_B_F_14-1 twice'),
        (('SOB_B_F_14-1,F,5,0',), 'patient', r'line 2: found SOB_B_F_14-1,F,5,0, expected .* a fold from 0 to 4'),
        (('SOB_B_F_14-1,A,0,0',), 'patient', 'expected the subtype F of the folder'),
        (('SOB_M_F_14-1,F,0,0',), 'patient', r'folds\.csv, line 2: SOB_M_F_14-1 is no folder of a patient of BreakHis'),
        (('14-1,F,0,0',), 'patient', '14-1 is no folder of a patient of BreakHis'),
    ],
)
def test_bad_tables_are_named(tmp_path, lines, group_by, message):
    with pytest.raises(ConversionError, match=message):
        read_folds(write(tmp_path / 'folds.csv', *lines), group_by)


def test_slides_of_a_case_may_be_in_two_folds_where_they_count_as_two_patients(tmp_path):
    lines = ('SOB_B_F_14-21998CD,F,0,0', 'SOB_B_F_14-21998EF,F,1,0')
    assert len(read_folds(write(tmp_path / 'folds.csv', *lines))) == 2


def test_a_table_with_other_columns_is_refused(tmp_path):
    (tmp_path / 'folds.csv').write_text('patient,fold\n14-1,0\n')
    with pytest.raises(ConversionError, match='has the columns patient, fold, expected folder, subtype, fold, half'):
        read_folds(tmp_path / 'folds.csv')


def test_too_few_patients_are_refused():
    with pytest.raises(ConversionError, match='4 patients are too few for 5 folds stratified by subtype, expected 5'):
        draw_folds([f'SOB_B_F_14-{number}' for number in range(4)])


def names(*files):
    return {file: parse_name(file) for file in files}


def test_lists_hold_the_images_of_their_folders_and_each_magnification_its_own():
    rows = [FoldRow(f'SOB_B_F_14-{fold}{half}', 'F', fold, half) for fold in range(5) for half in range(2)]
    images = names(*(f'SOB_B_F-14-{row.fold}{row.half}-{x}-001.png' for row in rows for x in (40, 400)))
    lists = fold_lists(images, rows, 'x')
    assert lists['fold4/test_20'] == [f'SOB_B_F-14-4{half}-{x}-001.png' for half in '01' for x in (40, 400)]
    assert lists['fold4/val_20_40X'] == ['SOB_B_F-14-00-40-001.png', 'SOB_B_F-14-01-40-001.png']
    assert lists['fold4/val_10_400X'] == ['SOB_B_F-14-00-400-001.png']
    assert 'SOB_B_F-14-01-400-001.png' in lists['fold4/train_70_400X']
    assert not any(name.endswith('100X') for name in lists)
    with pytest.raises(ConversionError, match=r'x has no row for SOB_B_F_14-41, of which SOB_B_F-14-41-40-001\.png is'):
        fold_lists(images, rows[:-1], 'x')
    with pytest.raises(ConversionError, match='lists would have no image, such as fold0/val_20;'):
        fold_lists(names('SOB_B_F-14-41-40-001.png'), rows, 'x')
