"""The converters of MoNuSeg, CoNSeP and TNBC on drawn sets, small ones written by hand, and wrong ones."""

import csv
import json
import re

import numpy as np
import pytest
import scipy.io
from PIL import Image
from tool_modules import load_tool

from histomm.datasets.synthetic import LAYOUTS, draw_nuclei, write_layout
from histomm.datasets.transforms import read_image

TRAIN = 'MoNuSeg 2018 Training Data'
SIZE = (72, 61)


def run(name, *args):
    return load_tool(f'tools/dataset_converters/{name}.py').main([str(arg) for arg in args])


def labels_of(path):
    with Image.open(path) as image:
        assert image.mode == 'I;16'
        return np.asarray(image)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def rows(path):
    with open(path, newline='') as file:
        return {row['name']: row for row in csv.DictReader(file)}


# ---- what comes out


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Folder with the drawn sets, 5 pictures each, and what the converters made of them."""
    root = tmp_path_factory.mktemp('nuclei')
    for name in ('monuseg', 'consep'):
        write_layout(name, root / name, 5, SIZE, 0)
        assert run(name, root / name, '--out', root / f'{name}_out') == 0
    return root


@pytest.mark.parametrize('name', ['monuseg', 'consep'])
def test_every_drawn_nucleus_comes_back(name, drawn):
    """Exactly (IoU 1), also from outlines: they are the pixels along the border of each nucleus, so that nothing is
    rounded when they are filled."""
    out = drawn / f'{name}_out'
    listed = {split: (out / f'{split}.txt').read_text().splitlines() for split in ('train', 'test')}
    total, plans = 0, list(LAYOUTS[name].pictures(5, SIZE, 0))
    assert sorted(listed['train'] + listed['test']) == sorted(
        str(path.relative_to(out)) for path in out.rglob('images/*')
    )
    for paths, draw in plans:
        stem = paths[0].rpartition('/')[2].rpartition('.')[0]
        assert f'images/{stem}.png' in listed['test' if 'Test' in paths[0] else 'train']
        truth = draw_nuclei(*draw.args)
        found = labels_of(out / 'instances' / f'{stem}.png')
        np.testing.assert_array_equal(found, truth.labels)
        np.testing.assert_array_equal(read_image(str(out / 'images' / f'{stem}.png')), truth.image)
        row = rows(out / 'summary.csv')[stem]
        assert (int(row['width']), int(row['height'])) == SIZE
        assert int(row['nuclei']) == len(truth.outlines)
        assert int(row['foreground']) == (truth.labels > 0).sum()
        total += len(truth.outlines)
    assert total > 20


def test_monuseg_names_its_participants(drawn):
    names = (drawn / 'monuseg_out' / 'participants.txt').read_text().splitlines()
    images = {path.stem[:12] for path in (drawn / 'monuseg_out' / 'images').iterdir()}
    assert names == sorted(images)
    assert not (drawn / 'consep_out' / 'participants.txt').exists()


def test_the_same_again_and_over_what_was_left(drawn, tmp_path, capsys):
    out = tmp_path / 'out'
    out.mkdir()  # an empty folder is taken
    stopped = tmp_path / 'out.partial'
    stopped.mkdir()
    (stopped / 'conversion.json').write_text('{}')
    (stopped / 'old.png').write_bytes(b'')
    assert run('consep', drawn / 'consep', '--out', out) == 0
    assert 'out.partial was begun with other data or options, and is begun anew' in capsys.readouterr().out
    assert contents(out) == contents(drawn / 'consep_out')
    assert not stopped.exists()
    assert run('consep', drawn / 'consep', '--out', out) == 0
    assert 'holds these images already' in capsys.readouterr().out
    assert run('monuseg', drawn / 'monuseg', '--out', out) == 1
    assert 'holds what other data or options gave; choose a new or empty folder' in capsys.readouterr().err


def test_nothing_is_there_after_an_error(tmp_path, capsys):
    consep(tmp_path / 'in', 'train_1')
    consep(tmp_path / 'in', 'train_2', arrays=dict(type_map=np.ones((6, 8))))
    assert run('consep', tmp_path / 'in', '--out', tmp_path / 'out') == 1
    assert not (tmp_path / 'out').exists()


def test_monuseg_of_real_tissue(real_data, tmp_path, capsys):
    source = real_data / 'monuseg' / TRAIN
    for path in sorted(source.glob('Annotations/*.xml'))[:1]:
        for file in (path, source / 'Tissue Images' / f'{path.stem}.tif'):
            link = tmp_path / 'in' / TRAIN / file.parent.name / file.name
            link.parent.mkdir(parents=True)
            link.symlink_to(file)
    assert run('monuseg', tmp_path / 'in', '--out', tmp_path / 'out') == 0
    (image,) = (tmp_path / 'out' / 'images').iterdir()
    expected = np.asarray(Image.open(real_data / 'monuseg' / 'instance_masks' / image.name))
    np.testing.assert_array_equal(labels_of(tmp_path / 'out' / 'instances' / image.name), expected)
    np.testing.assert_array_equal(
        read_image(str(image)), read_image(str(source / 'Tissue Images' / f'{image.stem}.tif'))
    )
    printed = capsys.readouterr().out
    assert 'train has 1 images, officially 37' in printed
    assert f'train: 1 images (0 without nuclei), {expected.max()} nuclei' in printed


# ---- MoNuSeg by hand

SQUARE = '<Vertex X="1" Y="1"/><Vertex X="3" Y="1"/><Vertex X="3" Y="4"/><Vertex X="1" Y="4"/>'


def monuseg(folder, name, *regions, images='Tissue Images', annotations='Annotations'):
    for path in (folder / images, folder / annotations):
        path.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), 200, np.uint8)).save(folder / images / f'{name}.tif')
    body = ''.join(f'<Region><Vertices>{region}</Vertices></Region>' for region in regions)
    text = f'<Annotations><Annotation><Regions>{body}</Regions></Annotation></Annotations>'
    (folder / annotations / f'{name}.xml').write_text(text)
    return folder / annotations / f'{name}.xml'


def test_lost_outlines_are_counted_and_keep_their_numbers(tmp_path, capsys):
    hidden, beside = SQUARE.replace('"4"', '"3"'), SQUARE.replace('X="1"', 'X="8.2"').replace('X="3"', 'X="8.5"')
    monuseg(tmp_path / 'train', 'a', '', SQUARE[:42], hidden, beside, SQUARE)
    monuseg(tmp_path / 'train', 'b')
    assert run('monuseg', tmp_path, '--out', tmp_path / 'out') == 0
    labels = labels_of(tmp_path / 'out' / 'instances' / 'a.png')
    assert labels[1:5, 1:4].tolist() == [[5] * 3] * 4
    assert labels.sum() == 5 * 12
    printed = capsys.readouterr().out
    assert 'note: a.xml: 1 empty, 1 open, 1 outside, 1 covered of the outlines' in printed
    assert 'train: 2 images (1 without nuclei), 1 nuclei on 12.5% of the pixels' in printed
    assert 'regions 5, empty 1, open 1, outside 1, covered 1' in printed
    assert rows(tmp_path / 'out' / 'summary.csv')['a']['open'] == '1'


def test_splits_by_the_nearest_folder_that_says_so(tmp_path):
    monuseg(tmp_path / 'TEST' / 'training', 'a', SQUARE)
    monuseg(tmp_path / 'MoNuSegTestData', 'b', SQUARE, images='.', annotations='.')
    assert run('monuseg', tmp_path, '--out', tmp_path / 'out') == 0
    assert (tmp_path / 'out' / 'train.txt').read_text() == 'images/a.png\n'
    assert (tmp_path / 'out' / 'test.txt').read_text() == 'images/b.png\n'


def test_participants_in_both_splits_are_pointed_out(tmp_path, capsys):
    for split, slide in (('train', 'DX1'), ('test', 'DX2')):
        monuseg(tmp_path / split, f'TCGA-AB-1234-01Z-00-{slide}', SQUARE)
    assert run('monuseg', tmp_path, '--out', tmp_path / 'out') == 0
    assert 'note: 1 participants are in train and in test: TCGA-AB-1234' in capsys.readouterr().out


def no_annotation(root):
    monuseg(root / 'train', 'a').unlink()


def no_image(root):
    monuseg(root / 'train', 'a')
    monuseg(root / 'train', 'b')
    (root / 'train' / 'Tissue Images' / 'b.tif').unlink()


def no_split(root):
    monuseg(root / 'more', 'a')


def twice(root):
    monuseg(root / 'train', 'a')
    monuseg(root / 'test', 'a')


def twice_in_one(root):
    monuseg(root / 'train', 'a')
    monuseg(root / 'train', 'a', images='.', annotations='.')


def two_barcodes(root):
    monuseg(root / 'train', 'TCGA-AB-1234-TCGA-AB-1235')


def entities(root):
    path = monuseg(root / 'train', 'a', SQUARE)
    path.write_text('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + path.read_text())


def other_image(root):
    monuseg(root / 'train', 'a', SQUARE.replace('"3"', '"300"'))


def truncated(root):
    monuseg(root / 'train', 'a')
    path = root / 'train' / 'Tissue Images' / 'a.tif'
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (no_annotation, '1 images such as .*a.tif have no label of the same name in .*train/Annotations; add'),
        (no_image, r'1 annotations, such as .*b\.xml, have no image of the same name'),
        (no_split, r'a\.tif is below no folder with "train" or "test" in its name'),
        (twice, r'a\.tif and .*a\.tif have the same name'),
        (twice_in_one, r'a\.tif and .*a\.tif are the same image twice'),
        (two_barcodes, 'has the barcodes of 2 participants, TCGA-AB-1234, TCGA-AB-1235, expected one; rename it'),
        (entities, 'declares a document type or entities'),
        (other_image, r'region 1 has a vertex at \(300, 1\), far outside of its image of 8x6'),
        (truncated, r'image .*a\.tif.* cannot be read'),
        (lambda root: root.mkdir(), 'holds no tif'),
        (lambda root: None, 'is not a folder'),
    ],
)
def test_wrong_monuseg(spoil, message, tmp_path, capsys):
    root = tmp_path / 'in'
    spoil(root)
    assert run('monuseg', root, '--out', tmp_path / 'out') == 1
    error = capsys.readouterr().err
    assert error.startswith('monuseg: ')
    assert re.search(message, error), error


# ---- CoNSeP by hand


def consep(root, name, arrays=None, split='Train', alpha=255):
    for folder in ('Images', 'Labels', 'Overlay'):
        (root / split / folder).mkdir(parents=True, exist_ok=True)
    image = np.full((6, 8, 4), 90, np.uint8)
    image[..., 3] = alpha
    Image.fromarray(image).save(root / split / 'Images' / f'{name}.png')
    if arrays is None:
        arrays = dict(inst_map=np.eye(6, 8) * 7, type_map=np.eye(6, 8))
    scipy.io.savemat(root / split / 'Labels' / f'{name}.mat', arrays)


def test_alpha_is_dropped_and_not_laid_over_white(tmp_path, capsys):
    consep(tmp_path / 'CoNSeP', 'train_1')
    consep(tmp_path / 'CoNSeP', 'train_2', alpha=10)
    consep(tmp_path / 'CoNSeP', 'test_1', split='Test')
    assert run('consep', tmp_path, '--out', tmp_path / 'out') == 0
    for name in ('train_1', 'train_2', 'test_1'):
        with Image.open(tmp_path / 'out' / 'images' / f'{name}.png') as image:
            assert image.mode == 'RGB'
            assert (np.asarray(image) == 90).all()
        assert labels_of(tmp_path / 'out' / 'instances' / f'{name}.png').tolist() == (np.eye(6, 8) * 7).tolist()
    printed = capsys.readouterr().out
    assert 'train has 2 images, officially 27' in printed
    assert 'test has 1 images, officially 14' in printed
    assert 'alpha 2, transparent 1' in printed


def missing_label(root):
    consep(root, 'train_1')
    (root / 'Train' / 'Labels' / 'train_1.mat').unlink()


def missing_image(root):
    consep(root, 'train_1')
    consep(root, 'train_2')
    (root / 'Train' / 'Images' / 'train_2.png').unlink()


def no_labels(root):
    (root / 'Train' / 'Images').mkdir(parents=True)
    Image.new('RGB', (8, 6)).save(root / 'Train' / 'Images' / 'train_1.png')


def two_sets(root):
    for name in 'ab':
        consep(root / name, 'train_1')


WRONG_ARRAYS = [
    (dict(type_map=np.ones((6, 8))), r'train_1\.mat holds type_map \(6, 8\), expected .* named inst_map'),
    (dict(inst_map=np.ones((8, 6))), r'train_1\.mat is 6x8, its image .*train_1\.png is 8x6'),
    (dict(inst_map=np.full((6, 8), 0.5)), r'train_1\.mat holds the value 0.5, expected whole numbers'),
    (dict(inst_map=np.full((6, 8), 70000)), r'train_1\.mat holds the id 70000, expected at most 65535'),
]


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (missing_label, r'1 images such as .*train_1\.png have no label of the same name in .*Labels'),
        (missing_image, r'1 labels such as .*train_2\.mat have no image of the same name;'),
        (no_labels, 'Labels is not a folder'),
        (two_sets, 'holds the data set 2 times, expected one'),
        (lambda root: root.mkdir(), 'holds no folder Train/Images or Test/Images'),
        (lambda root: (root / 'Train' / 'Images').mkdir(parents=True), 'holds no png'),
        *((lambda root, arrays=arrays: consep(root, 'train_1', arrays), message) for arrays, message in WRONG_ARRAYS),
    ],
)
def test_wrong_consep(spoil, message, tmp_path, capsys):
    spoil(tmp_path / 'in')
    assert run('consep', tmp_path / 'in', '--out', tmp_path / 'out') == 1
    assert re.search(message, error := capsys.readouterr().err), error


# ---- TNBC by hand

TOUCHING = np.zeros((10, 12), np.uint8)
TOUCHING[1:4, 1:4] = 255
TOUCHING[4:6, 4:7] = 255  # touches the first by a corner
TOUCHING[7:9, 1:3] = 255


def tnbc(root, slide, name, mask=TOUCHING):
    for folder, pixels in (
        (f'Slide_{slide:02d}', np.full((*mask.shape[:2], 3), 180, np.uint8)),
        (f'GT_{slide:02d}', mask),
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / folder / f'{name}.png')


def test_connected_parts_are_instances(tmp_path, capsys):
    for slide in (1, 2, 11):
        tnbc(tmp_path / 'TNBC', slide, f'{slide:02d}_1')
        tnbc(tmp_path / 'TNBC', slide, f'{slide:02d}_2', np.zeros((10, 12), np.uint8))
    assert run('tnbc', tmp_path, '--out', tmp_path / 'out', '--test-slides', 2, 1) == 0
    labels = labels_of(tmp_path / 'out' / 'instances' / '11_1.png')
    assert ((labels > 0) == (TOUCHING > 0)).all()
    assert {tuple(np.unique(labels[part])) for part in (np.s_[1:4, 1:4], np.s_[4:6, 4:7])} == {(labels[1, 1],)}
    assert labels[7, 1] not in (0, labels[1, 1])
    assert {path.name: len(path.read_text().split()) for path in (tmp_path / 'out').glob('*.txt')} == {
        'all.txt': 6,
        'train.txt': 2,
        'test.txt': 4,
    }
    printed = capsys.readouterr().out
    assert 'each connected part is an instance, nuclei that touch are one' in printed
    assert 'all has 6 images, officially 50' in printed
    assert 'test: 4 images (2 without nuclei), 4 nuclei' in printed
    recipe = json.loads((tmp_path / 'out' / 'conversion.json').read_text())
    assert recipe['splits']['train'] == ['images/11_1.png', 'images/11_2.png']


def no_mask(root):
    tnbc(root, 1, '01_1')
    (root / 'GT_01' / '01_1.png').unlink()


def no_masks(root):
    no_mask(root)
    (root / 'GT_01').rmdir()


def grey_mask(root):
    tnbc(root, 1, '01_1', np.arange(12, dtype=np.uint8)[None].repeat(10, axis=0))


def colour_mask(root):
    tnbc(root, 1, '01_1', np.zeros((10, 12, 3), np.uint8))


def small_mask(root):
    tnbc(root, 1, '01_1')
    Image.fromarray(TOUCHING[:5]).save(root / 'GT_01' / '01_1.png')


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (no_mask, r'1 images such as .*01_1\.png have no label of the same name in .*GT_01'),
        (no_masks, 'Slide_01 has no counterpart GT_01'),
        (grey_mask, r'01_1\.png holds 11 values beside 0, such as 1 and 2, expected one'),
        (colour_mask, 'is a label map of mode RGB'),
        (small_mask, r'GT_01/01_1\.png is 12x5, its image .* is 12x10'),
        (lambda root: root.mkdir(), 'holds no folders Slide_XX'),
        (lambda root: tnbc(root, 3, '03_1'), '--test-slides names 1, found the slides 3'),
    ],
)
def test_wrong_tnbc(spoil, message, tmp_path, capsys):
    spoil(tmp_path / 'in')
    assert run('tnbc', tmp_path / 'in', '--out', tmp_path / 'out', '--test-slides', 1) == 1
    assert re.search(message, error := capsys.readouterr().err), error
