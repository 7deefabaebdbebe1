"""Slides as bags: what is read, drawn and refused."""

import h5py
import numpy as np
import pytest
import torch
from bag_files import draw_bags, write_bag

from histomm.datasets import BagDataset, BalancedSampler, SampleIndex, bags
from histomm.datasets.patients import PatientOverlapError
from histomm.doctor.data_check import check_dataset
from histomm.doctor.findings import Report

SPLIT = dict(feature_folder='region_features', split_file='splits/splits_0.csv', classes=('LUAD', 'LUSC'))


@pytest.fixture
def root(tmp_path):
    return draw_bags(tmp_path, 12, dim=4)


def load(root, part='train', **options):
    return BagDataset(str(root), part=part, **{**SPLIT, **options})


def rewrite(path, old, new):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def file_of(root, number):
    return root / f'region_features/TCGA-05-Z{number:03d}-01Z-00-DX1.h5'


# ---- what is read


def test_a_sample_is_what_the_file_holds(root):
    dataset = load(root)
    assert [dataset.get_data_info(i)['slide'][8:12] for i in range(len(dataset))] == ['Z000', 'Z001', 'Z002', 'Z003']
    bag = dataset[1]
    with h5py.File(file_of(root, 1)) as file:
        assert np.array_equal(bag['inputs'].numpy(), file['features'][:])
        assert np.array_equal(bag['data_samples'].coords.numpy(), file['coords'][:])
    sample = bag['data_samples']
    assert (sample.gt_label.tolist(), sample.patient, sample.sample_idx) == ([1], 'TCGA-05-Z001', 1)
    assert sample.img_path == str(file_of(root, 1))
    assert (dataset.channels, dataset.metainfo['classes']) == (4, ('LUAD', 'LUSC'))


def test_files_are_opened_when_a_bag_is_asked_for_or_kept_from_the_start(root):
    lazy, kept = load(root), load(root, in_memory=True)
    before = kept[0]['inputs']
    with h5py.File(file_of(root, 0), 'a') as file:
        file['features'][:] = 7
    assert (lazy[0]['inputs'] == 7).all()
    assert torch.equal(kept[0]['inputs'], before)


def test_files_are_the_tables_and_those_of_the_slides_of_all_parts(root):
    first = file_of(root, 0)
    first.unlink()
    stored = [first.with_suffix('.zarr') / name for name in ('features/0', 'zarr.json')]
    for path in (*stored, root / 'region_features/other.h5'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('x')
    tables, features = load(root, lazy_init=True).files()
    assert tables == [root / 'slides.csv', root / 'splits/splits_0.csv']
    assert features == [*stored, *(file_of(root, number) for number in range(1, 12))]
    assert load(root, part='', split_file='', lazy_init=True).files() == (tables[:1], features)


@pytest.mark.parametrize(
    ('name', 'key'), [('{}.hdf5', 'features'), ('{}/features.h5', 'feats'), ('{}.zarr', 'features')]
)
def test_other_layouts_of_files(root, name, key):
    whole = load(root)[0]['inputs']
    stem = file_of(root, 0).stem
    file_of(root, 0).unlink()
    path = root / 'region_features' / name.format(stem)
    if path.suffix == '.zarr':
        zarr = pytest.importorskip('zarr')
        zarr.open_group(str(path), mode='w').create_array('features', data=whole.numpy())
    else:
        write_bag(path, whole.numpy(), key=key)
    assert torch.equal(load(root)[0]['inputs'], whole)


def test_names_of_clam_and_of_hipt_will_do(root):
    """Tables with slide_id and case_id; slides with an identifier after a dot, which is no suffix."""
    rewrite(root / 'slides.csv', 'slide,patient,label', 'slide_id,case_id,label')
    for path in (root / 'slides.csv', root / 'splits/splits_0.csv'):
        rewrite(path, 'TCGA-05-Z000-01Z-00-DX1', 'TCGA-05-Z000-01Z-00-DX1.07AE0E16-A883')
    file_of(root, 0).rename(root / 'region_features/TCGA-05-Z000-01Z-00-DX1.07AE0E16-A883.h5')
    assert load(root).get_data_info(0)['slide'] == 'TCGA-05-Z000-01Z-00-DX1.07AE0E16-A883'


def test_without_a_split_all_slides_of_the_table_are_taken(root):
    dataset = BagDataset(str(root), 'region_features')
    assert len(dataset) == 12
    assert dataset.metainfo['classes'] == ('LUAD', 'LUSC')


def test_slides_of_a_patient_in_one_bag(root):
    rewrite(root / 'slides.csv', 'TCGA-05-Z002,', 'TCGA-05-Z000,')
    slides, patients = load(root), load(root, unit='patient')
    assert (len(slides), len(patients)) == (4, 3)
    assert torch.equal(patients[0]['inputs'], torch.cat((slides[0]['inputs'], slides[2]['inputs'])))
    assert len(patients[0]['data_samples'].coords) == len(patients[0]['inputs'])


def test_times_and_intervals_of_the_training_part(root):
    """Training: times 30, 11, 32 of events and 13 censored. The median of the events, 30, is the only border."""
    options = dict(table='survival.csv', target='survival', time_bins=2, classes=None)
    for part, expected in (('train', [1, 0, 1, 0]), ('val', [1, 0, 1, 0]), ('test', [1, 0, 1, 0])):
        dataset = load(root, part, **options)
        samples = [dataset[i]['data_samples'] for i in range(4)]
        assert [sample.gt_interval.item() for sample in samples] == expected
    assert [(sample.gt_time.item(), sample.gt_event.item()) for sample in samples] == [
        (38, 1), (19, 1), (40, 1), (21, 0),
    ]  # fmt: skip
    assert dataset.get_cat_ids(3) == [0]


def test_a_draw_of_instances_depends_on_seed_epoch_and_sample(root):
    write_bag(file_of(root, 0), np.arange(200, dtype=np.float32).reshape(50, 4), np.arange(100).reshape(50, 2))
    train, test = load(root, max_instances=9), load(root, max_instances=9, test_mode=True)

    def draw(dataset, *index):
        found = dataset[SampleIndex(*index) if len(index) > 1 else index[0]]
        rows = (found['inputs'][:, 0] / 4).int()
        assert torch.equal(found['data_samples'].coords[:, 0], 2 * rows)
        return rows.tolist()

    first = draw(train, 0, 1, 0)
    assert len(set(first)) == 9
    assert first == sorted(first) == draw(train, 0, 1, 0)
    assert first != draw(train, 0, 1, 1)
    assert first != draw(train, 0, 2, 0)
    assert draw(test, 0) == draw(test, 0)
    assert len(train[SampleIndex(1, 1, 0)]['inputs']) == 4, 'smaller bags are whole'


def test_transforms_see_features_and_coordinates(root):
    def double(info):
        return info | dict(features=2 * info['features'], coords=None)

    plain, changed = load(root)[0], load(root, pipeline=[double])[0]
    assert torch.equal(changed['inputs'], 2 * plain['inputs'])
    assert 'coords' not in changed['data_samples']


# ---- the sampler


def test_classes_are_drawn_equally_often_however_rare(root):
    text = (root / 'slides.csv').read_text().replace('LUSC', 'LUAD').replace('TCGA-05-Z007,LUAD', 'TCGA-05-Z007,LUSC')
    (root / 'slides.csv').write_text(text)
    dataset = BagDataset(str(root), 'region_features')
    sampler, drawn = BalancedSampler(dataset, seed=3), []
    for epoch in range(200):
        sampler.set_epoch(epoch)
        drawn += list(sampler)
    assert len(drawn) == 200 * 12
    rare = sum(index == 7 for index in drawn) / len(drawn)
    assert rare == pytest.approx(0.5, abs=0.04)  # four deviations of 2,400 draws
    assert {int(index) for index in drawn} == set(range(12))


def test_draws_of_the_sampler_depend_on_seed_and_epoch(root):
    dataset = load(root)

    def draw(seed, epoch):
        sampler = BalancedSampler(dataset, seed=seed)
        sampler.set_epoch(epoch)
        return [(int(i), i.seed, i.epoch, i.drawn) for i in sampler]

    assert draw(1, 0) == draw(1, 0)
    assert len({tuple(draw(seed, epoch)) for seed in (1, 2) for epoch in range(3)}) == 6
    assert [row[3] for row in draw(1, 0)] == [0, 1, 2, 3], 'copies of a slide are drawn differently'


def test_a_data_set_without_classes_is_refused():
    with pytest.raises(TypeError, match='list has no get_cat_ids, which tells classes; use SeededSampler'):
        BalancedSampler([1, 2])


# ---- what is refused

DX = 'TCGA-05-Z003-01Z-00-DX1'
FAULTS = {
    'no table': (
        lambda r: (r / 'slides.csv').unlink(),
        {},
        FileNotFoundError,
        r'table of slides .*slides\.csv does not',
    ),
    'no fold': (lambda r: (r / 'splits/splits_0.csv').unlink(), {}, FileNotFoundError, r'draw folds with tools/split'),
    'no folder': (
        lambda r: None,
        dict(feature_folder='none'),
        FileNotFoundError,
        'folder of features none does not exist; extract them',
    ),
    'no file': (lambda r: file_of(r, 3).unlink(), {}, FileNotFoundError, f'1 slides of .* are not among .*: {DX}; add'),
    'not in the table': (
        lambda r: rewrite(r / 'splits/splits_0.csv', DX, 'other'),
        {},
        FileNotFoundError,
        r'not in slides\.csv: other',
    ),
    'another width': (
        lambda r: write_bag(file_of(r, 3), np.ones((2, 5))),
        {},
        ValueError,
        r'Z003.*\.h5 has features of 5 numbers, .*Z000.*\.h5 of 4; expected one width',
    ),
    'empty bag': (
        lambda r: write_bag(file_of(r, 3), np.ones((0, 4))),
        {},
        ValueError,
        r'Z003.*\.h5 has no instance, expected one',
    ),
    'not finite': (
        lambda r: write_bag(file_of(r, 3), np.array([[1, 2, 3, 4], [0, np.nan, 0, 0]])),
        {},
        ValueError,
        r'Z003.*\.h5: 1 of 2 features are not finite, first that of row 1',
    ),
    'other places': (
        lambda r: write_bag(file_of(r, 3), np.ones((2, 4)), np.ones((3, 2))),
        {},
        ValueError,
        r'coords are \(3, 2\), expected \(2, 2\)',
    ),
    'no features': (
        lambda r: write_bag(file_of(r, 3), np.ones((2, 4)), key='x'),
        {},
        ValueError,
        r"features or feats, found \['x'\]",
    ),
    'three axes': (
        lambda r: write_bag(file_of(r, 3), np.ones((1, 2, 4))),
        {},
        ValueError,
        r'features are \(1, 2, 4\), expected \(n, D\)',
    ),
    'no HDF5': (lambda r: file_of(r, 3).write_text('x'), {}, ValueError, 'cannot be read as HDF5'),
    'two files': (
        lambda r: write_bag(file_of(r, 3).with_suffix('.hdf5'), np.ones((2, 4))),
        {},
        ValueError,
        'are both of slide',
    ),
    'a class is missing': (
        lambda r: (r / 'slides.csv').write_text((r / 'slides.csv').read_text().replace('LUSC', 'LUAD')),
        {},
        ValueError,
        r"the part 'train' of splits/splits_0\.csv has no slide of LUSC, expected some of each",
    ),
    'unknown class': (lambda r: None, dict(classes=('LUAD',)), ValueError, "has the label 'LUSC', expected one of"),
    'patient in two parts': (
        lambda r: rewrite(r / 'slides.csv', 'TCGA-05-Z004,', 'TCGA-05-Z003,'),
        {},
        PatientOverlapError,
        r'1 of 11 patients have slides in several parts, such as TCGA-05-Z003, expected one part for each',
    ),
    'truths of a patient': (
        lambda r: rewrite(r / 'slides.csv', 'TCGA-05-Z003,', 'TCGA-05-Z002,'),
        dict(unit='patient'),
        ValueError,
        'of patient TCGA-05-Z002 differ in what is to be learned',
    ),
    'slide twice': (
        lambda r: rewrite(r / 'slides.csv', 'TCGA-05-Z004-01Z', 'TCGA-05-Z003-01Z'),
        {},
        ValueError,
        'is there twice; keep',
    ),
    'twice in a fold': (
        lambda r: rewrite(r / 'splits/splits_0.csv', 'TCGA-05-Z004-01Z', 'TCGA-05-Z003-01Z'),
        {},
        ValueError,
        r'splits_0\.csv: TCGA-05-Z003-01Z-00-DX1 is there twice',
    ),
    'no label': (
        lambda r: rewrite(r / 'slides.csv', 'TCGA-05-Z003,LUSC', 'TCGA-05-Z003,'),
        {},
        ValueError,
        'has no label',
    ),
    'no column': (lambda r: rewrite(r / 'slides.csv', 'label', 'class'), {}, ValueError, 'expected label among them'),
    'no column of a fold': (
        lambda r: rewrite(r / 'splits/splits_0.csv', 'val', 'valid'),
        {},
        ValueError,
        'expected train, val and test',
    ),
    'time': (
        lambda r: rewrite(r / 'survival.csv', ',13,', ',0,'),
        dict(table='survival.csv', target='survival'),
        ValueError,
        "has time='0', expected a number above 0",
    ),
    'event': (
        lambda r: rewrite(r / 'survival.csv', ',13,0', ',13,2'),
        dict(table='survival.csv', target='survival'),
        ValueError,
        "has event='2', expected 0 or 1",
    ),
    'part without split': (lambda r: None, dict(split_file=''), ValueError, 'expected both or neither'),
    'part': (lambda r: None, dict(part='all'), ValueError, "part is 'all', expected one of"),
    'instances': (lambda r: None, dict(max_instances=0), ValueError, 'max_instances is 0, expected 1 or more'),
    'intervals of classes': (lambda r: None, dict(time_bins=4), ValueError, "time_bins is for target='survival'"),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_faults_are_told_in_one_sentence(fault, root):
    spoil, options, kind, message = FAULTS[fault]
    spoil(root)
    with pytest.raises(kind, match=message):
        load(root, **options)[3]


def test_slides_without_files_and_shared_patients_are_left_out_or_warned_of_when_asked_to(root, monkeypatch):
    said = []
    monkeypatch.setattr(bags, 'print_log', lambda text, *_: said.append(text))
    file_of(root, 2).unlink()
    rewrite(root / 'slides.csv', 'TCGA-05-Z004,', 'TCGA-05-Z003,')
    assert len(load(root, missing='skip', patient_overlap='warn')) == 3
    shared, absent = said
    assert '1 of 11 patients have slides in several parts' in shared
    assert '1 slides of the part' in absent
    assert absent.endswith('TCGA-05-Z002-01Z-00-DX1; they are left out')


def test_the_doctor_reads_bags(root):
    cfg = dict(type='histomm.BagDataset', data_root=str(root), part='train', **SPLIT)
    sound, faulty = Report(), Report()
    assert check_dataset(sound, 'train', cfg) == (4, 2)
    assert not sound.faults
    write_bag(file_of(root, 3), np.full((2, 4), np.inf))
    check_dataset(faulty, 'train', cfg)
    assert [fault.what for fault in faulty.faults] == [
        f'{file_of(root, 3)} is no bag ({file_of(root, 3)}: 2 of 2 features are not finite, first that of row 0; '
        'expected numbers, extract them anew)'
    ]


# ---- real features


def test_real_features_are_a_bag(real_data, tmp_path):
    """One slide of TCGA in the layout of STAMP: a folder with features.h5, which has feats and coords."""
    folder = real_data / 'features/mopadi'
    if not folder.is_dir():
        pytest.skip(f'no features of slides in {folder}')
    (tmp_path / 'slides.csv').write_text('slide,label\nTCGA-AD-6964-01Z-00-DX1.svs,COAD\n')
    dataset = BagDataset(str(tmp_path), str(folder))
    bag = dataset[0]
    assert (len(dataset), tuple(bag['inputs'].shape), dataset.channels) == (1, (777, 512), 512)
    assert bag['data_samples'].patient == 'TCGA-AD-6964'
    assert tuple(bag['data_samples'].coords.shape) == (777, 2)
