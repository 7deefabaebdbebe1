"""The CRAG converter on drawn sets, small ones written by hand, and wrong ones."""

import json
import shutil

import numpy as np
import pytest
import scipy.io
from PIL import Image
from pycocotools import mask as coder
from tool_modules import load_tool

from histomm.datasets.synthetic import write_layout

LABELS = np.zeros((24, 32), np.uint8)
LABELS[2:20, 2:10] = 1
LABELS[2:12, 12:20] = 4


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/dataset_converters/crag.py')


def draw(split, name, labels=LABELS, suffix='.png'):
    for folder in ('Images', 'Annotation', 'Overlay'):
        (split / folder).mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.full((24, 32, 3), 200, np.uint8))
    image.save(split / 'Images' / f'{name}.png')
    image.save(split / 'Overlay' / f'{name}.png')
    path = split / 'Annotation' / f'{name}{suffix}'
    if suffix == '.mat':
        scipy.io.savemat(path, {'inst_map': labels})
    else:
        Image.fromarray(labels).save(path)


@pytest.fixture
def crag(tmp_path):
    """The layout of version 2 in small, below a folder, with numbers that sort otherwise than text."""
    root = tmp_path / 'crag' / 'CRAG'
    draw(root / 'train', 'train_2')
    draw(root / 'train', 'train_10', suffix='.mat')
    draw(root / 'train', 'train_1', labels=np.zeros_like(LABELS))
    draw(root / 'valid', 'test_1')
    return tmp_path / 'crag'


def read(path):
    return json.loads(path.read_text())


def areas(path):
    return [item['area'] for item in read(path)['annotations']]


@pytest.mark.parametrize('name', ['valid', 'test'])
def test_both_names_of_the_test_set_become_test(name, tool, crag, capsys):
    (crag / 'CRAG' / 'valid').rename(crag / 'CRAG' / name)
    assert tool.main([str(crag)]) == 0
    out = crag / 'annotations'
    assert {path.name for path in out.iterdir()} == {'train.json', 'test.json'}
    train, test = read(out / 'train.json'), read(out / 'test.json')
    assert [image['file_name'] for image in train['images']] == [f'CRAG/train/Images/train_{i}.png' for i in (1, 2, 10)]
    assert [image['file_name'] for image in test['images']] == [f'CRAG/{name}/Images/test_1.png']
    assert all((crag / image['file_name']).is_file() for image in train['images'] + test['images'])
    assert areas(out / 'train.json') == [144, 80] * 2
    assert train['categories'] == [{'id': 1, 'name': 'gland', 'supercategory': ''}]
    printed = capsys.readouterr().out
    assert '3 images (1 without objects), 4 objects, IoU with the source mask min 1.0000 mean 1.0000' in printed
    assert 'note: train has 3 images, officially 173\nnote: test has 1 images, officially 40\n' in printed
    assert ('valid is the official test set' in printed) == (name == 'valid')


def test_valid_beside_test_is_a_split_of_its_own(tool, crag):
    draw(crag / 'CRAG' / 'test', 'test_2', labels=np.zeros_like(LABELS))
    assert tool.main([str(crag), '--out', str(crag / 'x')]) == 0
    assert [len(areas(crag / 'x' / f'{name}.json')) for name in ('train', 'valid', 'test')] == [4, 2, 0]


def test_no_notice_at_the_official_counts(tool, tmp_path, capsys):
    draw(tmp_path / 'train', 'train_1')
    draw(tmp_path / 'test', 'test_1')
    for split, count in (('train', 173), ('test', 40)):
        for folder in ('Images', 'Annotation'):
            for number in range(2, count + 1):
                (tmp_path / split / folder / f'{split}_{number}.png').symlink_to(f'{split}_1.png')
    assert tool.main([str(tmp_path)]) == 0
    assert 'note' not in capsys.readouterr().out
    assert len(read(tmp_path / 'annotations' / 'train.json')['images']) == 173


@pytest.mark.parametrize('layout', ['crag', 'crag-mat'])
def test_drawn_set_decodes_to_its_label_maps(layout, tool, tmp_path, capsys):
    write_layout(layout, tmp_path, 3, (301, 256), 2)
    assert tool.main([str(tmp_path), '--min-area', '1']) == 0
    drawn = 0
    for split, folder in (('train', 'train'), ('test', 'valid')):
        coco = read(tmp_path / 'annotations' / f'{split}.json')
        for image in coco['images']:
            path = tmp_path / image['file_name'].replace('Images', 'Annotation')
            if layout == 'crag-mat':
                labels = scipy.io.loadmat(path.with_suffix('.mat'))['inst_map']
            else:
                labels = np.asarray(Image.open(path))
            decoded = np.zeros_like(labels)
            for item in coco['annotations']:
                if item['image_id'] == image['id']:
                    decoded[coder.decode(item['segmentation']) > 0] = item['instance_id']
            assert (decoded == labels).all()
            assert f'{folder}/Images' in image['file_name']
            drawn += labels.max()
    assert drawn > 6
    assert capsys.readouterr().out.count('min 1.0000 mean 1.0000, 0 fragments left out') == 2


def test_empty_images_stay_in_the_file_and_are_dropped_in_training(tool, crag):
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    from mmdet.datasets import CocoDataset

    tool.main([str(crag)])
    options = {
        'data_root': str(crag),
        'ann_file': 'annotations/train.json',
        'data_prefix': {'img': ''},
        'metainfo': {'classes': ('gland',)},
        'pipeline': [],
    }
    assert len(CocoDataset(**options, test_mode=True)) == 3
    assert len(CocoDataset(**options, filter_cfg={'filter_empty_gt': True})) == 2


def test_linked_folders_are_read(tool, crag, tmp_path):
    (tmp_path / 'linked' / 'CRAG_v2').mkdir(parents=True)
    (tmp_path / 'linked' / 'CRAG_v2' / 'CRAG').symlink_to(crag / 'CRAG')
    assert tool.main([str(tmp_path / 'linked')]) == 0
    images = read(tmp_path / 'linked' / 'annotations' / 'test.json')['images']
    assert [image['file_name'] for image in images] == ['CRAG_v2/CRAG/valid/Images/test_1.png']


def test_folder_of_one_split_is_not_the_root(tool, crag, capsys):
    assert tool.main([str(crag / 'CRAG' / 'train')]) == 1
    assert 'train holds no folder train/Images' in capsys.readouterr().err


def test_what_the_archive_holds_besides_does_no_harm(tool, crag, capsys):
    images = crag / 'CRAG' / 'train' / 'Images'
    (crag / '__MACOSX' / 'CRAG' / 'train' / 'Images').mkdir(parents=True)
    (images / '._train_1.png').write_bytes(b'x')
    (images / 'Thumbs.db').write_bytes(b'x')
    (crag / 'CRAG' / 'valid' / 'Annotation').rename(crag / 'CRAG' / 'valid' / 'Annotations')
    assert tool.main([str(crag)]) == 0
    assert f'note: {images} holds 1 files other than .png, such as Thumbs.db\n' in capsys.readouterr().out
    assert len(read(crag / 'annotations' / 'train.json')['images']) == 3


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda f: (f / 'train/Annotation/train_2.png').unlink(), 'train_2.png has no label map'),
        (lambda f: (f / 'train/Images/train_2.png').unlink(), '1 label maps, such as'),
        (lambda f: draw(f / 'train', 'train_2', suffix='.mat'), 'train_2 in two formats'),
        (lambda f: draw(f / 'train', 'train_2', LABELS[:23]), 'train_2.png is 32x23, its image'),
        (lambda f: draw(f / 'train', 'train_10', LABELS.T, '.mat'), 'train_10.mat is 24x32, its image'),
        (lambda f: draw(f / 'valid', 'test_1', np.stack([LABELS] * 3, -1)), 'test_1.png is a label map of mode RGB'),
        (lambda f: (f / 'train/Images/train_2.png').write_bytes(b'x'), 'train_2.png cannot be read'),
        (lambda f: shutil.rmtree(f / 'valid/Annotation'), 'holds Images but no folder Annotation'),
        (lambda f: (f / 'valid/Images').rename(f / 'valid/images'), 'valid holds no folder Images'),
        (lambda f: shutil.copytree(f, f.parent / 'copy'), 'holds the data set 2 times'),
        (lambda f: [path.unlink() for path in f.glob('train/Images/*')], 'holds no png'),
        (shutil.rmtree, 'holds no folder train/Images, valid/Images or'),
        (lambda f: shutil.rmtree(f.parent), 'is not a folder'),
    ],
)
def test_bad_folders_are_said_in_one_sentence(spoil, message, tool, crag, capsys):
    spoil(crag / 'CRAG')
    assert tool.main([str(crag)]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith('crag: ')
    assert message in error
    assert len(error.splitlines()) == 1
