"""Names and tables of BreakHis, BACH, lymphoma and BreastPathQ."""

import re

import pytest

from histomm.datasets.breakhis import find_breakhis, parse_name
from histomm.datasets.breastpathq import find_patches, read_table
from histomm.datasets.class_photos import BACH, LYMPHOMA, check_label_table, find_photos
from histomm.datasets.label_maps import ConversionError


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


# ---- BreakHis


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('SOB_B_A-14-22549AB-40-001.png', ('benign', 'A', '14-22549', 'AB', 40, 1)),
        ('SOB_B_TA-14-16184CD-400-024', ('benign', 'TA', '14-16184', 'CD', 400, 24)),
        ('SOB_M_PC-15-190EF-200-011.png', ('malignant', 'PC', '15-190', 'EF', 200, 11)),
        ('SOB_M_LC-14-13412-100-026.png', ('malignant', 'LC', '14-13412', '', 100, 26)),
    ],
)
def test_names_of_breakhis(name, expected):
    assert parse_name(name) == expected


def test_two_folders_of_one_patient_are_one_patient():
    assert parse_name('SOB_M_DC-14-13412-40-001').patient == parse_name('SOB_M_LC-14-13412-40-001').patient
    related = [parse_name(f'SOB_B_PT-14-21998{part}-40-001') for part in ('AB', 'CD', 'EF')]
    assert len({name.patient for name in related}) == 3
    assert {name.case for name in related} == {'14-21998'}


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('SOB_B_A_14-22549AB-40-001.png', 'is no name of BreakHis, expected SOB_<B|M>_<subtype>-<year>'),
        ('SOB_B_DC-14-2523-40-010.png', 'has the subtype DC after SOB_B, expected one of A, F, PT, TA'),
        ('SOB_M_XX-14-2523-40-010.png', 'has the subtype XX after SOB_M, expected one of DC, LC, MC, PC'),
        ('SOB_M_DC-14-2523-50-010.png', 'has the magnification 50, expected one of 40, 100, 200, 400'),
    ],
)
def test_bad_names_of_breakhis(name, message):
    with pytest.raises(ConversionError, match=re.escape(message)):
        parse_name(name)


def test_folders_of_breakhis_must_agree_with_the_names(tmp_path):
    good = 'breast/benign/SOB/adenosis/SOB_B_A_14-1/40X/SOB_B_A-14-1-40-001.png'
    touch(tmp_path / 'a', good, 'breast/notes.txt')
    assert list(find_breakhis(tmp_path / 'a')) == [good]
    for wrong in (
        'malignant/SOB_B_A-14-1-40-001.png',
        '100X/SOB_B_A-14-1-40-001.png',
        'fibroadenoma/SOB_B_A-14-1-40-001.png',
    ):
        root = tmp_path / wrong.split('/')[0]
        touch(root, wrong)
        with pytest.raises(ConversionError, match=r'lies below .*, but its name says benign, adenosis, 40X'):
            find_breakhis(root)
    touch(tmp_path / 'a', 'copy/SOB_B_A-14-1-40-001.png')
    with pytest.raises(ConversionError, match='have the same name; keep one of them'):
        find_breakhis(tmp_path / 'a')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ConversionError, match='holds no png; give the folder BreaKHis_v1'):
        find_breakhis(tmp_path / 'empty')
    with pytest.raises(ConversionError, match='is not a folder; give the folder BreaKHis_v1'):
        find_breakhis(tmp_path / 'none')


# ---- class folders

BACH_FILES = (
    'Photos/Benign/b001.tif',
    'Photos/InSitu/is001.tif',
    'Photos/Invasive/iv001.tif',
    'Photos/Normal/n001.tif',
)


def test_photos_of_bach(tmp_path):
    touch(tmp_path, *BACH_FILES)
    found = find_photos(tmp_path, BACH, 'Photos')
    assert found == [(path, path.split('/')[1], '') for path in BACH_FILES]


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ((*BACH_FILES, 'Photos/Benign/is002.tif'), 'expected a name of b and three digits; rename or move it'),
        ((*BACH_FILES, 'Photos/InSitu/is2.tif'), 'expected a name of is and three digits'),
        (
            (*BACH_FILES, 'Photos/Other/b002.tif'),
            'lies in the folder Other, expected one of Benign, InSitu, Invasive, Norm',
        ),
        ((*BACH_FILES, 'Photos/b002.tif'), 'lies in the folder Photos, expected one of Benign'),
        (BACH_FILES[:3], 'holds no images in a folder Normal; add what is missing of BACH'),
        ((), 'is not a folder; give the folder of BACH'),
    ],
)
def test_bad_photos_of_bach(tmp_path, files, message):
    touch(tmp_path, *files)
    with pytest.raises(ConversionError, match=message):
        find_photos(tmp_path, BACH, 'Photos')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('b001.tif,Benign\nis001.tif,InSitu\niv001.tif,Invasive\nn001.tif,Normal\n', ''),
        ('b001.tif,Benign\nis001.tif,InSitu\niv001.tif,Invasive\n', r'n001\.tif: it has no row \(1 such\)'),
        (
            'b001.tif,Benign\nb002.tif,Benign\nis001.tif,InSitu\niv001.tif,Invasive\nn001.tif,Normal\n',
            r'b002\.tif: no image',
        ),
        (
            'b001.tif,Benign\nis001.tif,InSitu\niv001.tif,Normal\nn001.tif,Normal\n',
            r'iv001\.tif is Normal, but it lies in',
        ),
        ('b001.tif;Benign\n', r'has the row b001\.tif;Benign, expected a file name and a class'),
    ],
)
def test_table_of_bach_must_agree_with_the_folders(tmp_path, text, message):
    touch(tmp_path, *BACH_FILES)
    (tmp_path / 'table.csv').write_text(text)
    photos = find_photos(tmp_path, BACH, 'Photos')
    if not message:
        check_label_table(tmp_path / 'table.csv', photos)
        return
    with pytest.raises(ConversionError, match=message):
        check_label_table(tmp_path / 'table.csv', photos)


def test_cases_of_lymphoma(tmp_path):
    touch(tmp_path, 'CLL/sj-03-2810_001.tif', 'FL/sj-05-588-R1_012.tif', 'MCL/sj-04-3077-R2_003.tif')
    found = find_photos(tmp_path, LYMPHOMA, with_groups=True)
    assert [photo.group for photo in found] == ['sj-03-2810', 'sj-05-588-R1', 'sj-04-3077-R2']
    touch(tmp_path, 'FL/unnamed.tif')
    assert len(find_photos(tmp_path, LYMPHOMA)) == 4, 'names say nothing where images are split at random'
    with pytest.raises(
        ConversionError, match=r'unnamed\.tif is in the folder FL .* expected a name of the case, _ and a'
    ):
        find_photos(tmp_path, LYMPHOMA, with_groups=True)


# ---- BreastPathQ


def test_patches_of_breastpathq(tmp_path, capsys):
    root = tmp_path / 'datasets'
    touch(root, 'train/99790_1.tif', 'train/99790_2.tif', 'validation/99800_1.tif')
    (root / 'train_labels.csv').write_text('slide,rid,y\n99790,2,0.07\n99790,1,0\n')
    (root / 'val_labels.csv').write_text('slide,rid,y\n99800,1,1\n')
    assert find_patches(tmp_path) == [
        ('datasets/train/99790_2.tif', 7.0, '99790'),
        ('datasets/train/99790_1.tif', 0.0, '99790'),
        ('datasets/validation/99800_1.tif', 100.0, '99800'),
    ]
    assert 'note: train has 2 images, the published set has 2394' in capsys.readouterr().out
    touch(root, 'train/99790_3.tif')
    with pytest.raises(ConversionError, match=r'1 images such as .*99790_3\.tif have no row in .*train_labels\.csv'):
        find_patches(tmp_path)
    (root / 'train_labels.csv').write_text('slide,rid,y\n99790,1,0\n99790,2,0\n99790,3,0\n99790,4,0\n')
    with pytest.raises(ConversionError, match=r'train_labels\.csv: 1 rows such as 99790_4 have no image in'):
        find_patches(tmp_path)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('slide,rid,label\n1,1,0\n', r"has the columns \['slide', 'rid', 'label'\], expected slide, rid and y"),
        ('slide,rid,y\n1,1,1.2\n', r"1_1 has y='1\.2', expected a number from 0 to 1"),
        ('slide,rid,y\n1,1,\n', "1_1 has y='', expected a number"),
        ('slide,rid,y\n1,1,0\n1,1,0\n', '1_1 is there twice'),
    ],
)
def test_bad_tables_of_breastpathq(tmp_path, text, message):
    (tmp_path / 'labels.csv').write_text(text)
    with pytest.raises(ConversionError, match=message):
        read_table(tmp_path / 'labels.csv')
    with pytest.raises(ConversionError, match=r'none\.csv is missing, expected a table'):
        read_table(tmp_path / 'none.csv')
