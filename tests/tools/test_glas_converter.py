"""The GlaS converter on drawn folders, on wrong ones, and on the real images."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coder
from tool_modules import load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/dataset_converters/glas.py')


def draw(folder, name, suffix='.bmp', objects=1):
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.zeros((24, 32), np.uint8)
    for i in range(objects):
        labels[2:20, 2 + 10 * i : 10 + 10 * i] = i + 1
    Image.fromarray(labels).save(folder / f'{name}_anno{suffix}')
    Image.fromarray(np.full((24, 32, 3), 200, np.uint8)).save(folder / f'{name}{suffix}')


@pytest.fixture
def glas(tmp_path):
    """The official layout in small: bmp in a subfolder, numbers that sort otherwise than text."""
    folder = tmp_path / 'glas' / 'Warwick QU Dataset'
    for name, objects in (('train_2', 1), ('train_10', 2), ('train_1', 0), ('testA_1', 3), ('testB_1', 1)):
        draw(folder, name, objects=objects)
    (folder / 'Grade.csv').write_text('name,patient ID\n')
    return tmp_path / 'glas'


def read(path):
    return json.loads(path.read_text())


def test_split_and_names(tool, glas, capsys):
    assert tool.main([str(glas)]) == 0
    out = glas / 'annotations'
    assert {path.name for path in out.iterdir()} == {'train.json', 'test.json', 'testA.json', 'testB.json'}
    train, test = read(out / 'train.json'), read(out / 'test.json')
    assert [image['file_name'] for image in train['images']] == [
        f'Warwick QU Dataset/train_{i}.bmp' for i in (1, 2, 10)
    ]
    assert [image['file_name'][-11:] for image in test['images']] == ['testA_1.bmp', 'testB_1.bmp']
    assert [len(read(out / f'{name}.json')['annotations']) for name in ('train', 'test', 'testA', 'testB')] == [
        3,
        4,
        3,
        1,
    ]
    assert all((glas / image['file_name']).is_file() for image in train['images'])
    assert train['categories'] == [{'id': 1, 'name': 'gland', 'supercategory': ''}]
    printed = capsys.readouterr().out
    assert '3 images (1 without objects), 3 objects, IoU with the source mask min 1.0000 mean 1.0000' in printed
    assert 'train has 3 images, officially 85' in printed


def test_mmdet_reads_the_file(tool, glas, capsys):
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations

    tool.main([str(glas)])
    dataset = CocoDataset(
        data_root=str(glas),
        ann_file='annotations/train.json',
        data_prefix={'img': ''},
        metainfo={'classes': ('gland',)},
        filter_cfg={'filter_empty_gt': True},
        pipeline=[],
    )
    assert len(dataset) == 2
    info = dataset.get_data_info(1)
    results = LoadAnnotations(with_bbox=True, with_mask=True)({**info, 'ori_shape': (24, 32)})
    assert not results['gt_ignore_flags'].any()
    labels = np.asarray(Image.open(info['img_path'].replace('.bmp', '_anno.bmp')))
    assert (results['gt_masks'].masks == np.stack([labels == 1, labels == 2])).all()
    assert results['gt_bboxes'].tensor.tolist() == [[2, 2, 10, 20], [12, 2, 20, 20]]


def test_absent_test_a_is_said(tool, glas, capsys):
    for path in glas.rglob('testA_1*'):
        path.unlink()
    assert tool.main([str(glas), '--out', str(glas / 'x')]) == 0
    assert 'note: test.json holds testB\n' in capsys.readouterr().out
    assert not (glas / 'x' / 'testA.json').exists()
    assert len(read(glas / 'x' / 'test.json')['images']) == 1


def test_options_reach_the_file(tool, tmp_path, capsys):
    draw(tmp_path, 'train_1')
    labels = np.zeros((24, 32), np.uint8)
    labels[0:4, 0:4] = labels[10:20, 10:20] = 1
    Image.fromarray(labels).save(tmp_path / 'train_1_anno.bmp')

    def areas(*args):
        assert tool.main([str(tmp_path), *args]) == 0
        return sorted(item['area'] for item in read(tmp_path / 'annotations' / 'train.json')['annotations'])

    assert areas() == [16, 100]
    assert areas('--keep-disconnected') == [116]
    capsys.readouterr()
    assert areas('--min-area', '17') == [100]
    assert 'train_1_anno.bmp id 1, 16 px' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda f: (f / 'train_2_anno.bmp').unlink(), 'train_2.bmp has no label map train_2_anno (bmp or png)'),
        (lambda f: (f / 'train_2.bmp').unlink(), 'train_2_anno.bmp has no image train_2'),
        (lambda f: (f / 'train_2.bmp').write_bytes(b'BM no image'), 'train_2.bmp cannot be read'),
        (lambda f: draw(f, 'train_2', '.png'), 'train_2 both as bmp and as png'),
        (lambda f: draw(f / 'copy', 'train_3'), 'images in several folders (1 in '),
        (shutil.rmtree, 'no image named train_N'),
    ],
)
def test_bad_folders_are_said_in_one_sentence(spoil, message, tool, glas, capsys):
    spoil(glas / 'Warwick QU Dataset')
    assert tool.main([str(glas)]) == 1
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1


def test_linked_folders_are_read(tool, glas, tmp_path):
    (tmp_path / 'linked').mkdir()
    (tmp_path / 'linked' / 'images').symlink_to(glas / 'Warwick QU Dataset')
    assert tool.main([str(tmp_path / 'linked')]) == 0
    images = read(tmp_path / 'linked' / 'annotations' / 'testA.json')['images']
    assert [image['file_name'] for image in images] == ['images/testA_1.bmp']


def test_image_and_map_may_differ_in_format(tool, glas):
    folder = glas / 'Warwick QU Dataset'
    Image.open(folder / 'train_2_anno.bmp').save(folder / 'train_2_anno.png')
    (folder / 'train_2_anno.bmp').unlink()
    (folder / 'train_10.bmp').rename(folder / 'train_10.BMP')
    assert tool.main([str(glas)]) == 0
    train = read(glas / 'annotations' / 'train.json')
    assert [image['file_name'].split('/')[1] for image in train['images']] == [
        'train_1.bmp', 'train_2.bmp', 'train_10.BMP',
    ]  # fmt: skip
    assert [item['image_id'] for item in train['annotations']] == [2, 3, 3]


def test_pictures_of_other_names_are_told_and_those_of_the_archive_are_not(tool, glas, capsys):
    folder = glas / 'Warwick QU Dataset'
    draw(folder, 'Train-3')
    (folder / '._train_1.bmp').write_bytes(b'x')
    shutil.copytree(folder, glas / '__MACOSX')
    assert tool.main([str(glas)]) == 0
    printed = capsys.readouterr().out
    assert f'note: {glas} holds 2 pictures of other names or folders, such as {folder}/Train-3.bmp: left out' in printed
    assert len(read(glas / 'annotations' / 'train.json')['images']) == 3


def test_folder_that_is_none(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path / 'gone')]) == 1
    assert 'gone is not a folder' in capsys.readouterr().err


def test_where_nothing_can_be_written(tool, glas, capsys):
    file = glas / 'Warwick QU Dataset' / 'Grade.csv'
    for out in (file, file / 'annotations'):
        assert tool.main([str(glas), '--out', str(out)]) == 1
        error = capsys.readouterr().err.strip()
        assert error.startswith(f'glas: {file}')
        assert 'cannot be read or written (' in error
        assert len(error.splitlines()) == 1


def test_real_bmp_and_png_give_the_same(tool, real_data, tmp_path, capsys):
    bmp = real_data / 'glas' / 'original_bmp_sample' / 'Warwick_QU_Dataset'
    png = tmp_path / 'png'
    png.mkdir()
    for name in ('train_32.png', 'train_32_anno.png'):
        shutil.copy(real_data / 'glas' / 'Warwick_QU_Dataset' / name, png)
    for source, out in ((bmp, 'a'), (png, 'b')):
        assert tool.main([str(source), '--out', str(tmp_path / out)]) == 0
    a, b = read(tmp_path / 'a' / 'train.json'), read(tmp_path / 'b' / 'train.json')
    assert a['annotations'] == b['annotations']
    assert len(a['annotations']) == 6


def test_real_holes_and_glands_under_one_id(tool, real_data, tmp_path, capsys):
    source = real_data / 'glas' / 'Warwick_QU_Dataset'
    for name in ('testB_12', 'testB_18', 'testB_9'):
        for suffix in ('.png', '_anno.png'):
            shutil.copy(source / f'{name}{suffix}', tmp_path)
    assert tool.main([str(tmp_path)]) == 0
    coco = read(tmp_path / 'annotations' / 'testB.json')
    by_image = {image['file_name']: [] for image in coco['images']}
    names = {image['id']: image['file_name'] for image in coco['images']}
    for item in coco['annotations']:
        by_image[names[item['image_id']]].append(item)
    # testB_18 gives eight glands the id 1; testB_12's gland 3 has a hole; testB_9 has a stray pixel as id 5.
    assert [item['instance_id'] for item in by_image['testB_18.png']] == [1] * 8
    labels = np.asarray(Image.open(tmp_path / 'testB_12_anno.png'))
    third = next(item for item in by_image['testB_12.png'] if item['instance_id'] == 3)
    assert (coder.decode(third['segmentation']) == (labels == 3)).all()
    assert 'testB_9_anno.png id 5, 1 px' in capsys.readouterr().out
