"""PatchDataset: where samples come from, their labels, and unreadable files."""

import logging

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from histomm.datasets import PatchDataset, SampleIndex, SeededSampler, patch_dataset, patients
from histomm.datasets.patients import PatientOverlapError
from histomm.datasets.transforms import UnreadableImageError

VIEW = [dict(type='histomm.RandomResizedCrop', size=8)]
PIPELINE = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.MultiView', views=[dict(pipeline=VIEW, num=2)]),
    dict(type='histomm.PackViews'),
]


@pytest.fixture
def tree(tmp_path):
    """Three class folders with images of all kinds, and files that are none."""
    names = ['ADI/b.png', 'ADI/a.TIF', 'TUM/deep/er/c d.jpg', 'STR/e.JPEG', 'STR/f.bmp', 'TUM/.hidden.png', 'x.txt']
    for number, name in enumerate(names):
        path = tmp_path / 'tree' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == '.txt':
            path.write_text('no image')
        else:
            Image.fromarray(np.full((12, 12, 3), 20 * number, np.uint8)).save(path)
    return tmp_path / 'tree'


def names(dataset, root):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [(info['img_path'].removeprefix(f'{root}/'), info.get('gt_label')) for info in infos]


FILES = ['ADI/a.TIF', 'ADI/b.png', 'STR/e.JPEG', 'STR/f.bmp', 'TUM/deep/er/c d.jpg']


def test_folder_tree_is_sorted_and_unlabelled(tree):
    dataset = PatchDataset(str(tree))
    assert names(dataset, tree) == [(name, None) for name in FILES]
    assert 'classes' not in dataset.metainfo


def test_labels_are_the_first_folders(tree):
    dataset = PatchDataset(str(tree), with_labels=True)
    assert names(dataset, tree) == list(zip(FILES, [0, 0, 1, 1, 2], strict=True))
    assert dataset.metainfo['classes'] == ('ADI', 'STR', 'TUM')
    dataset = PatchDataset(str(tree), with_labels=True, classes=['BACK', 'TUM', 'ADI', 'STR'])
    assert [label for _, label in names(dataset, tree)] == [2, 2, 3, 3, 1]


def test_several_roots_and_exclude(tree):
    roots = [str(tree / 'TUM'), str(tree / 'ADI')]
    dataset = PatchDataset(roots)
    assert [name for name, _ in names(dataset, tree)] == ['TUM/deep/er/c d.jpg', 'ADI/a.TIF', 'ADI/b.png']
    dataset = PatchDataset(str(tree), exclude=['TUM/*', '*.bmp'])
    assert [name for name, _ in names(dataset, tree)] == ['ADI/a.TIF', 'ADI/b.png', 'STR/e.JPEG']
    dataset = PatchDataset(str(tree), extensions=['.TIF', 'png'])
    assert [name for name, _ in names(dataset, tree)] == ['ADI/a.TIF', 'ADI/b.png']


def test_links_that_go_round_are_followed_once(tree):
    (tree / 'ADI' / 'loop').symlink_to(tree)
    assert len(PatchDataset(str(tree))) == 5


def test_list_file(tree):
    lines = ['TUM/deep/er/c d.jpg', 'ADI/b.png 7', '', '  STR/f.bmp\t 10 ', f'{tree}/ADI/a.TIF 3']
    (tree / 'list.txt').write_text('\n'.join(lines))
    expected = ['TUM/deep/er/c d.jpg', 'ADI/b.png', 'STR/f.bmp', 'ADI/a.TIF']
    for arguments in (dict(data_root=str(tree), list_file='list.txt'), dict(list_file=str(tree / 'list.txt'))):
        assert names(PatchDataset(**arguments), tree) == [(name, None) for name in expected]
    (tree / 'list.txt').write_text('\n'.join(['TUM/deep/er/c d.jpg 1', *lines[1:]]))
    dataset = PatchDataset(list_file=str(tree / 'list.txt'), with_labels=True)
    assert [label for _, label in names(dataset, tree)] == [1, 7, 10, 3]


def test_list_with_names_and_csv(tree):
    (tree / 'list.txt').write_text('ADI/b.png fat\nSTR/f.bmp stroma\n')
    dataset = PatchDataset(list_file=str(tree / 'list.txt'), with_labels=True, classes=['stroma', 'fat'])
    assert names(dataset, tree) == [('ADI/b.png', 1), ('STR/f.bmp', 0)]
    (tree / 'list.csv').write_text('\ufeffslide,file,kind\nA,"TUM/deep/er/c d.jpg",b\nB,ADI/b.png,a\n', 'utf-8')
    columns = dict(path_column='file', label_column='kind')
    dataset = PatchDataset(list_file=str(tree / 'list.csv'), with_labels=True, **columns)
    assert names(dataset, tree) == [('TUM/deep/er/c d.jpg', 1), ('ADI/b.png', 0)]
    assert names(PatchDataset(list_file=str(tree / 'list.csv'), **columns), tree)[1] == ('ADI/b.png', None)


def write(tree, text, name='list.txt'):
    (tree / name).write_text(text)
    return dict(list_file=str(tree / name))


@pytest.mark.parametrize(
    ('make', 'error', 'message'),
    [
        (lambda t: {}, ValueError, 'neither data_root nor list_file'),
        (lambda t: dict(data_root=f'{t}/gone'), FileNotFoundError, 'data_root .*gone is not a folder'),
        (lambda t: dict(data_root=f'{t}/x.txt'), FileNotFoundError, 'is not a folder'),
        (lambda t: dict(data_root=str(t), extensions=['svs']), ValueError, "extensions are .'svs'"),
        (lambda t: dict(data_root=f'{t}/TUM', extensions=['png']), ValueError, r'no images .*found 1 \.jpg'),
        (lambda t: dict(data_root=f'{t}/TUM', exclude='*'), ValueError, 'leaves no images'),
        (lambda t: dict(data_root=[str(t), f'{t}/TUM']), ValueError, 'c d.jpg is found twice'),
        (lambda t: dict(data_root=f'{t}/ADI', with_labels=True), ValueError, 'a.TIF lies in no class folder'),
        (lambda t: dict(data_root=str(t), with_labels=True, classes=['ADI', 'TUM']), ValueError, "label 'STR'"),
        (lambda t: dict(data_root=str(t), unreadable='ignore'), ValueError, "unreadable is 'ignore'"),
        (lambda t: dict(list_file=f'{t}/gone.txt'), FileNotFoundError, 'gone.txt does not exist'),
        (lambda t: write(t, '\n \n'), ValueError, 'names no images'),
        (lambda t: write(t, 'ADI/b.png\nADI/gone.png\n'), FileNotFoundError, '1 of 2 files .*gone.png'),
        (lambda t: write(t, 'ADI/b.png\nx.txt\n'), ValueError, r'list\.txt:2 names .x\.txt'),
        (lambda t: write(t, 'a,b\n1,2\n', 'l.csv'), ValueError, "columns .*'a', 'b'.* expected one named 'path'"),
        (lambda t: write(t, 'ADI/b.png\n') | dict(with_labels=True), ValueError, 'b.png has no label'),
        (lambda t: write(t, 'ADI/b.png 5\n') | dict(with_labels=True, classes='ab'), ValueError, 'label 5'),
        (lambda t: write(t, 'ADI/b.png 5\nADI/a.TIF x') | dict(with_labels=True), ValueError, 'numbers and names'),
        (lambda t: write(t, 'ADI/b.png') | dict(data_root=[str(t), str(t)]), ValueError, 'has 2 folders'),
    ],
)
def test_bad_sources(tree, make, error, message):
    with pytest.raises(error, match=message):
        PatchDataset(**make(tree))


def test_empty_folder(tmp_path):
    with pytest.raises(ValueError, match=r'no images below .*found no files at all'):
        PatchDataset(str(tmp_path))


@pytest.fixture
def log(monkeypatch):
    """What the data set logs."""
    lines = []
    monkeypatch.setattr(patch_dataset, 'print_log', lambda text, logger, level: lines.append((level, text)))
    return lines


def test_exclude_pattern_without_match_is_said(tree, log):
    PatchDataset(str(tree), exclude=['*testB*', '*.bmp'])
    assert log == [(logging.WARNING, "PatchDataset: exclude pattern '*testB*' matches no file")]


@pytest.mark.parametrize('serialize', [True, False])
def test_seed_and_epoch_reach_the_pipeline(tree, serialize):
    dataset = PatchDataset(str(tree), lazy_init=True)
    dataset.serialize_data = serialize
    dataset.full_init()
    index = dataset[SampleIndex(2, seed=5, epoch=7)]['sample_idx']
    assert (int(index), index.seed, index.epoch) == (2, 5, 7)


@pytest.fixture
def damaged(tmp_path):
    """Ten images; numbers 3 and 7 are truncated."""
    for number in range(10):
        path = tmp_path / f'{number}.png'
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        if number in (3, 7):
            path.write_bytes(path.read_bytes()[:-30])
    return tmp_path


def test_unreadable_files_raise(damaged):
    dataset = PatchDataset(str(damaged), pipeline=PIPELINE)
    loader = DataLoader(dataset, sampler=SeededSampler(dataset, shuffle=False), num_workers=1, collate_fn=list)
    with pytest.raises(UnreadableImageError, match=r"3\.png: .*remove it, or set unreadable='skip' in the data set"):
        list(loader)


def test_unreadable_files_are_skipped_named_and_independent_of_workers(damaged, log):
    seen = []
    for workers in (0, 1, 2):
        dataset = PatchDataset(str(damaged), pipeline=PIPELINE, unreadable='skip')
        sampler = SeededSampler(dataset, seed=1)
        loader = DataLoader(dataset, batch_size=3, sampler=sampler, num_workers=workers, collate_fn=list)
        samples = [sample['data_samples'] for batch in loader for sample in batch]
        seen.append([(sample.sample_idx, sample.crop_box) for sample in samples])
        bad = dataset.report_unreadable()
        assert bad == [str(damaged / '3.png'), str(damaged / '7.png')]
        assert f'2 of 10 images could not be read and were skipped: {bad[0]}, {bad[1]}' in log.pop()[1]
    assert seen[0] == seen[1] == seen[2]
    wanted = list(SeededSampler(range(10), seed=1))
    for index, (got, _) in zip(wanted, seen[0], strict=True):
        assert got == index if index not in (3, 7) else got not in (3, 7)


def test_nothing_readable(damaged):
    dataset = PatchDataset(str(damaged), pipeline=PIPELINE, unreadable='skip', max_refetch=5).get_subset([3, 7])
    assert dataset.report_unreadable() == []
    with pytest.raises(UnreadableImageError, match='6 unreadable images in a row'):
        dataset[SampleIndex(0)]
    assert dataset.unreadable_files() == [str(damaged / '3.png'), str(damaged / '7.png')]


def test_real_folder(real_data):
    dataset = PatchDataset(
        str(real_data), exclude=['*_anno.*', '*/instance_masks/*', '*/masks/*', '*/testB_*'], unreadable='raise'
    )
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    assert sum('/train_' in path and '/Warwick_QU_Dataset/' in path for path in paths) >= 85
    assert not any('testB' in path or 'anno' in path for path in paths)


@pytest.fixture
def slides(tmp_path):
    """Two images each of three participants, a list of one of them, and an image of nobody known."""
    for name in ('TCGA-AA-0001-01Z', 'TCGA-AA-0002-01Z', 'TCGA-AA-0003-01Z'):
        for number in range(2):
            path = tmp_path / 'slides' / name / f'{number}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(path)
    (tmp_path / 'participants.txt').write_text('TCGA-AA-0002\nTCGA-ZZ-9999\n')
    return tmp_path / 'slides'


@pytest.mark.parametrize('listed', [False, True])
def test_patients_of_the_test_set_are_left_out(slides, listed, monkeypatch):
    said = []
    monkeypatch.setattr(patch_dataset, 'print_log', lambda text, logger: said.append(text))
    source = dict(data_root=str(slides))
    if listed:
        (slides / 'list.txt').write_text(''.join(f'{name}\n' for name, _ in names(PatchDataset(**source), slides)))
        source['list_file'] = 'list.txt'
    participants = slides.parent / 'participants.txt'
    dataset = PatchDataset(**source, exclude_patients=str(participants))
    assert [name for name, _ in names(dataset, slides)] == [
        'TCGA-AA-0001-01Z/0.png',
        'TCGA-AA-0001-01Z/1.png',
        'TCGA-AA-0003-01Z/0.png',
        'TCGA-AA-0003-01Z/1.png',
    ]
    assert said == [f'PatchDataset: left out 2 of 6 images, of 1 participants that {participants} names']


def test_several_lists_of_patients(slides):
    (slides.parent / 'more.txt').write_text('TCGA-AA-0001\n')
    lists = [str(slides.parent / 'participants.txt'), str(slides.parent / 'more.txt')]
    assert len(PatchDataset(str(slides), exclude_patients=lists)) == 2
    (slides.parent / 'more.txt').write_text('TCGA-AA-0001\nTCGA-AA-0003\n')
    with pytest.raises(ValueError, match='leaves no images'):
        PatchDataset(str(slides), exclude_patients=lists)


def test_patients_of_the_test_set_can_be_refused(slides):
    guard = dict(exclude_patients=str(slides.parent / 'participants.txt'), patient_overlap='raise')
    with pytest.raises(PatientOverlapError, match=r'found 2 of 6 images, of 1 participants .* TCGA-AA-0002, expected'):
        PatchDataset(str(slides), **guard)
    assert len(PatchDataset(str(slides), exclude='TCGA-AA-0002*', **guard)) == 4
    with pytest.raises(ValueError, match="patient_overlap is 'warn'"):
        PatchDataset(str(slides), patient_overlap='warn')


def test_a_guard_that_cannot_tell_patients_says_so(slides, tree, monkeypatch):
    guard = dict(exclude_patients=str(slides.parent / 'participants.txt'))
    with pytest.raises(ValueError, match='none of 5 names has a TCGA barcode'):
        PatchDataset(str(tree), **guard)
    with pytest.raises(FileNotFoundError, match=r'list of participants .*none\.txt does not exist'):
        PatchDataset(str(slides), exclude_patients='none.txt')
    said = []
    monkeypatch.setattr(patients, 'print_log', lambda text, logger, level: said.append(text))
    (slides / 'unknown.png').write_bytes((slides / 'TCGA-AA-0001-01Z/0.png').read_bytes())
    assert len(PatchDataset(str(slides), **guard)) == 5
    assert said == [f'PatchDataset: 1 of 7 names have no TCGA barcode and were not compared: {slides}/unknown.png']
