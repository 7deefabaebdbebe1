"""Sets of pictures over magnifications: none lost, none mixed up, all reported."""

import shutil

import numpy as np
import pytest
from PIL import Image

from histomm.datasets import MagnificationSetDataset, magnification_sets
from histomm.datasets.label_maps import ConversionError
from histomm.datasets.magnification_sets import SetError, breakhis_member, folder_member
from histomm.datasets.synthetic import write_layout

MAGNIFICATIONS = (40, 100, 200, 400)


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(path)


def breakhis(root, folder, slide, numbers, magnifications=MAGNIFICATIONS):
    """Pictures of one patient's folder, such as SOB_M_DC_14-13412."""
    kind = folder.split('_')[1]
    place = 'benign/SOB/adenosis' if kind == 'B' else 'malignant/SOB'
    subtype = folder.split('_')[2]
    touch(
        root,
        *(
            f'{place}/{folder}/{magnification}X/SOB_{kind}_{subtype}-{slide}-{magnification}-{number:03d}.png'
            for number in numbers
            for magnification in magnifications
        ),
    )


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    write_layout('breakhis', root, 17, (40, 32), seed=0)
    return root


def test_drawn_sets_are_those_of_one_place(drawn):
    dataset = MagnificationSetDataset(str(drawn))
    assert len(dataset) == 17
    files = [path for number in range(17) for path in dataset.get_data_info(number)['img_paths'].values()]
    assert len(set(files)) == 4 * 17 == len(list(drawn.rglob('*.png')))
    for number in range(17):
        sample = dataset.get_data_info(number)
        folder, sequence = sample['img_path'].split('/')
        assert list(sample['img_paths']) == [40, 100, 200, 400]
        for magnification, path in sample['img_paths'].items():
            assert f'/{folder}/{magnification}X/' in path
            assert path.endswith(f'-{magnification}-{sequence}.png')


def test_the_two_folders_of_one_patient_stay_two_sets_of_one_patient(tmp_path):
    """The authors' table of (slide, number) keeps one of the two folders of 14-13412 and loses the other."""
    breakhis(tmp_path, 'SOB_M_DC_14-13412', '14-13412', range(1, 4))
    breakhis(tmp_path, 'SOB_M_LC_14-13412', '14-13412', range(1, 4))
    for patients, count in (('folder', 2), ('name', 1), ('case', 1)):
        dataset = MagnificationSetDataset(str(tmp_path), patients=patients)
        samples = [dataset.get_data_info(number) for number in range(len(dataset))]
        assert len(samples) == 6
        assert len({sample['patient'] for sample in samples}) == count
        assert len({path for sample in samples for path in sample['img_paths'].values()}) == 24
        for sample in samples:
            subtypes = {path.rpartition('/')[2].split('-')[0] for path in sample['img_paths'].values()}
            assert len(subtypes) == 1, 'a set with pictures of both folders'


def test_other_years_and_letters_are_read(tmp_path):
    breakhis(tmp_path, 'SOB_M_DC_15-190EF', '15-190EF', [1])
    breakhis(tmp_path, 'SOB_B_A_14-21998AB', '14-21998AB', [1])
    breakhis(tmp_path, 'SOB_B_A_14-21998CD', '14-21998CD', [1])
    names = {patients: set() for patients in ('folder', 'name', 'case')}
    for patients, found in names.items():
        dataset = MagnificationSetDataset(str(tmp_path), patients=patients)
        assert len(dataset) == 3
        found.update(dataset.get_data_info(number)['patient'] for number in range(3))
    assert names['folder'] == {'SOB_M_DC_15-190EF', 'SOB_B_A_14-21998AB', 'SOB_B_A_14-21998CD'}
    assert names['name'] == {'15-190EF', '14-21998AB', '14-21998CD'}
    assert names['case'] == {'15-190', '14-21998'}


def test_incomplete_sets_are_named_each_and_can_be_refused(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(magnification_sets, 'print_log', lambda text, *_: lines.append(text))
    breakhis(tmp_path, 'SOB_B_A_14-1', '14-1', [1, 2])
    breakhis(tmp_path, 'SOB_B_A_14-1', '14-1', [3], (40, 400))
    breakhis(tmp_path, 'SOB_M_DC_14-4364', '14-4364', [1], (40,))
    dataset = MagnificationSetDataset(str(tmp_path))
    assert len(dataset) == 2
    assert dataset.incomplete_sets == {'SOB_B_A_14-1/003': [100, 200], 'SOB_M_DC_14-4364/001': [100, 200, 400]}
    log = '\n'.join(lines)
    assert (
        '2 of 4 sets are incomplete, expected 40X, 100X, 200X, 400X, and were left out: '
        'SOB_B_A_14-1/003 lacks 100X, 200X; SOB_M_DC_14-4364/001 lacks 100X, 200X, 400X'
    ) in log
    assert (
        '2 sets of 1 patients at 40X, 100X, 200X, 400X; 3 of 11 images are in none of them; a set is patient and '
        'number, BreakHis does not say that its pictures show the same place'
    ) in log
    with pytest.raises(SetError, match=r'2 of 4 sets are incomplete.*14-4364/001 lacks 100X'):
        MagnificationSetDataset(str(tmp_path), incomplete='raise')
    assert len(MagnificationSetDataset(str(tmp_path), magnifications=[400, 40])) == 3
    with pytest.raises(SetError, match='correct layout or magnifications'):
        MagnificationSetDataset(str(tmp_path), magnifications=[40, 60])


def test_folders_of_any_magnifications(tmp_path):
    touch(
        tmp_path, 'a/5.png', 'a/10X.png', 'a/2.5x.png', 'b/c/2.5.tif', 'b/c/10.png', 'b/c/5x.png', 'd/10.png', 'd/5.png'
    )
    dataset = MagnificationSetDataset(str(tmp_path), magnifications=[10, 2.5], layout='folders')
    samples = [dataset.get_data_info(number) for number in range(len(dataset))]
    assert [sample['img_paths'] for sample in samples] == [
        {2.5: f'{tmp_path}/a/2.5x.png', 10: f'{tmp_path}/a/10X.png'},
        {2.5: f'{tmp_path}/b/c/2.5.tif', 10: f'{tmp_path}/b/c/10.png'},
    ]
    assert dataset.incomplete_sets == {f'{tmp_path}/d': [2.5]}


@pytest.mark.parametrize(
    ('layout', 'stray', 'error', 'message'),
    [
        ('breakhis', 'notes/overview.png', ConversionError, r'overview\.png is no name of BreakHis, expected SOB_'),
        ('breakhis', 'SOB_B_A-14-1-50-001.png', ConversionError, r'SOB_B_A-14-1-50-001\.png has the magnification 50'),
        (
            'breakhis',
            'SOB_B_DC-14-1-40-001.png',
            ConversionError,
            r'-40-001\.png has the subtype DC after SOB_B',
        ),
        ('folders', 'SOB_B_A_14-1/40X/x.png', SetError, r'x\.png is no SET/MAGNIFICATION'),
    ],
)
def test_a_picture_whose_name_says_nothing_stops_the_data_set(tmp_path, layout, stray, error, message):
    """It is not left out in silence, though all sets beside it are complete."""
    if layout == 'breakhis':
        breakhis(tmp_path, 'SOB_B_A_14-1', '14-1', [1, 2])
    else:
        touch(tmp_path, *(f'a/{magnification}.png' for magnification in MAGNIFICATIONS))
    assert len(MagnificationSetDataset(str(tmp_path), layout=layout)) == (2 if layout == 'breakhis' else 1)
    touch(tmp_path, stray)
    with pytest.raises(error, match=message):
        MagnificationSetDataset(str(tmp_path), layout=layout)


def test_two_pictures_for_one_place_are_refused(tmp_path):
    touch(tmp_path, 'a/40.png', 'a/40X.png', 'a/100.png')
    with pytest.raises(SetError, match=r'a/40X?\.png and .*a/40X?\.png are both the 40X of'):
        MagnificationSetDataset(str(tmp_path), magnifications=[40, 100], layout='folders')


def test_lists_exclusions_and_indices_are_those_of_pictures_and_sets(drawn, tmp_path):
    paths = sorted(path.relative_to(drawn).as_posix() for path in drawn.rglob('*.png'))
    benign = [path for path in paths if '/benign/' in path]
    (tmp_path / 'train.csv').write_text('path,label\n' + ''.join(f'{path},benign\n' for path in benign))
    dataset = MagnificationSetDataset(str(drawn), list_file=str(tmp_path / 'train.csv'))
    assert 4 * len(dataset) == len(benign)
    assert all('SOB_B_' in dataset.get_data_info(number)['img_path'] for number in range(len(dataset)))
    assert len(MagnificationSetDataset(str(drawn), exclude=['*/benign/*'])) == 17 - len(dataset)
    assert len(MagnificationSetDataset(str(drawn), indices=3)) == 3


def test_an_unreadable_picture_is_replaced_and_its_set_named(drawn, tmp_path):
    root = tmp_path / 'copy'
    shutil.copytree(drawn, root)
    view = [dict(type='histomm.LoadPatch')]
    pipeline = [
        dict(type='histomm.MagnificationPairSampler', strategy='fixed', pair=(200, 400)),
        dict(type='histomm.MagnificationViews', pipeline=view),
        dict(type='histomm.PackViews'),
    ]
    dataset = MagnificationSetDataset(str(root), pipeline=pipeline, unreadable='skip')
    broken = dataset.get_data_info(4)
    with open(broken['img_paths'][400], 'wb') as file:
        file.write(b'nothing')
    assert dataset[4]['data_samples'].img_path != broken['img_path']
    assert dataset.report_unreadable() == [broken['img_path']]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(magnifications=[40]), 'two or more numbers'),
        (dict(magnifications=[40, 40.0]), 'none twice'),
        (dict(layout='tree'), r"layout is 'tree'"),
        (dict(patients='slide'), r"patients is 'slide'"),
        (dict(incomplete='keep'), r"incomplete is 'keep'"),
        (dict(with_labels=True), 'sets have no labels; remove with_labels'),
    ],
)
def test_bad_arguments_are_named(drawn, options, message):
    with pytest.raises(ValueError, match=message):
        MagnificationSetDataset(str(drawn), **options)


def test_members_by_hand():
    assert breakhis_member('x/SOB_B_TA-14-16184CD-40-001.png') == ('SOB_B_TA_14-16184CD/001', '14-16184CD', 40)
    assert folder_member('x/y/2.5X.png') == ('x/y', 'x/y', 2.5)
    for name in ('x/middle.png', '40.png', 'x/40Y.png'):
        with pytest.raises(SetError, match='is no SET/MAGNIFICATION'):
            folder_member(name)
