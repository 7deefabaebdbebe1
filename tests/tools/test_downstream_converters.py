"""The converters of downstream data sets, from drawn layouts to what the configs read."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from small_runs import REPO
from tool_modules import load_tool

from histomm.datasets.breakhis import parse_name
from histomm.datasets.gleason import GRADES
from histomm.datasets.synthetic import write_layout
from histomm.datasets.transforms.loading import read_image
from histomm.registry import DATASETS

PARTS = ('train', 'val', 'test')


def convert(name, *arguments):
    return load_tool(f'tools/dataset_converters/{name}.py').main([str(argument) for argument in arguments])


def rows(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def disjoint(sets):
    sets = list(sets)
    return sum(map(len, sets)) == len(set().union(*sets))


def data_set(config, part, root, **more):
    """The data set of a shipped config on other data, without its pipeline."""
    cfg = Config.fromfile(str(REPO / 'configs' / config))
    init_default_scope(cfg.get('default_scope', 'histomm'))
    options = dict(cfg[f'{part}_dataloader'].dataset, data_root=str(root), pipeline=[], **more)
    return DATASETS.build(options)


def check_config(config, root, folder='splits'):
    """The data sets of a config are the lists, and share nothing; classes of all images by path."""
    found = {}
    for part in PARTS:
        data = data_set(config, part, root)
        infos = [data.get_data_info(index) for index in range(len(data))]
        listed = {str(root / row['path']): row['label'] for row in rows(root / folder / f'{part}.csv')}
        assert {info['img_path']: data.metainfo['classes'][info['gt_label']] for info in infos} == listed
        assert not found.keys() & listed.keys()
        found |= listed
    return {path.removeprefix(f'{root}/'): label for path, label in found.items()}


def test_breakhis(tmp_path, capsys):
    root = tmp_path / 'BreaKHis_v1'
    write_layout('breakhis', root, 64, 32)
    assert convert('breakhis', root) == 0
    assert 'note: 128 benign images, the published set has 2480' in capsys.readouterr().out
    found = check_config('breakhis/resnet18_finetune_breakhis.py', root)
    assert found.keys() == {str(path.relative_to(root)) for path in root.rglob('*.png')}
    assert all(f'/{label}/' in path for path, label in found.items())
    assert convert('breakhis', root, '--group-by', 'patient') == 0
    assert 'more than one part' not in capsys.readouterr().out
    assert check_config('breakhis/resnet18_linear_breakhis_patient.py', root, 'splits_patient') == found
    for folder, who in (('splits_patient', 'patient'), ('splits', None)):
        held = [{parse_name(Path(r['path']).name).patient for r in rows(root / folder / f'{p}.csv')} for p in PARTS]
        assert disjoint(held) == (who is not None)
    assert convert('breakhis', root, '--group-by', 'case') == 0
    held = [{parse_name(Path(r['path']).name).case for r in rows(root / 'splits_case' / f'{p}.csv')} for p in PARTS]
    assert disjoint(held)
    assert convert('breakhis', root, '--magnification', '200') == 0
    assert {parse_name(Path(r['path']).name).magnification for r in rows(root / 'splits_200X/train.csv')} == {200}


def test_bach_photos(tmp_path, capsys):
    root = tmp_path / 'BACH'
    write_layout('bach', root, 32, 32)
    labels = [(path.name, path.parent.name) for path in sorted(root.rglob('*.tif'))]
    table = root / 'Photos/microscopy_ground_truth.csv'
    table.write_text(''.join(f'{name},{label}\n' for name, label in labels))
    assert convert('bach', root) == 0
    found = check_config('bach/resnet18_finetune_bach.py', root)
    assert Counter(found.values()) == dict(Benign=8, InSitu=8, Invasive=8, Normal=8)
    assert all(Path(path).parent.name == label for path, label in found.items())
    table.write_text(''.join(f'{name},{label}\n' for name, label in labels[1:]))
    assert convert('bach', root, '--out', tmp_path / 'other') == 1
    assert 'bach: ' in (said := capsys.readouterr().err)
    assert 'b001.tif: it has no row (1 such); complete the data' in said


def test_bach_patches(tmp_path, capsys):
    """Benign 0, invasive 1, in situ 2, normal 3; every patch has the class of its image, and stays in its part."""
    root = tmp_path / 'BACH'
    write_layout('bach', root, 40, (64, 48))
    lists = root / 'splits_mpcs'
    assert convert('bach', root, '--out', lists, '--parts', 60, 20, 20, '--portions', 2, 6) == 0
    assert {path.stem for path in lists.glob('*.csv')} == {*PARTS, 'train_2_each', 'train_6_each', 'summary'}
    numbers = dict(Benign=0, Invasive=1, InSitu=2, Normal=3)
    counts, images = [], []
    for part, name in zip((*PARTS, 'train'), (*PARTS, 'train_2_each'), strict=True):
        data = data_set(
            'bach/resnet50_finetune_bach_patches.py', part, root, list_file=f'splits_mpcs/{name}.csv', patch=32
        )
        infos = [data.get_data_info(index) for index in range(len(data))]
        assert all(numbers[Path(info['img_path']).parent.name] == info['gt_label'] for info in infos)
        counts.append(len(infos))
        images.append({info['img_path'] for info in infos})
    assert counts == [24 * 6, 8 * 6, 8 * 6, 8 * 6]
    assert disjoint(images[:3])
    assert images[3] < images[0]
    assert convert('bach', root, '--out', tmp_path / 'o', '--parts', 60, 20, 20, '--portions', 7) == 1
    assert 'bach: Benign has 6 training images, expected 7 or more for the portion of 7' in capsys.readouterr().err


def test_lymphoma(tmp_path):
    write_layout('lymphoma', tmp_path, 24, 32)
    assert convert('lymphoma', tmp_path) == 0
    assert Counter(check_config('lymphoma/resnet18_finetune_lymphoma.py', tmp_path).values()) == dict(
        CLL=8, FL=8, MCL=8
    )
    assert convert('lymphoma', tmp_path, '--group-by', 'case') == 0
    held = [{row['group'] for row in rows(tmp_path / 'splits_case' / f'{part}.csv')} for part in PARTS]
    assert disjoint(held)


def test_nct_and_its_test_set(tmp_path, capsys):
    root, test = tmp_path / 'NCT-CRC-HE-100K', tmp_path / 'CRC-VAL-HE-7K'
    write_layout('nct', root, 72, 32)
    write_layout('nct-val', test, 9, 32)
    assert convert('nct', root, '--test', test) == 0
    assert [len(rows(root / 'splits' / f'{part}.csv')) for part in ('train', 'val')] == [54, 18]
    assert set(Counter(row['label'] for row in rows(root / 'splits/val.csv')).values()) == {2}
    held_out = data_set('nct/resnet18_finetune_nct.py', 'test', test)
    classes = held_out.metainfo['classes']
    for index in range(9):
        info = held_out.get_data_info(index)
        assert classes[info['gt_label']] == Path(info['img_path']).parent.name
    capsys.readouterr()
    assert convert('nct', root, '--test', root, '--out', tmp_path / 'other') == 1
    assert '72 images, such as ADI-0000.tif, are in' in capsys.readouterr().err


def test_breastpathq(tmp_path):
    write_layout('breastpathq', tmp_path, 48, 32)
    assert convert('breastpathq', tmp_path) == 0
    expected = {}
    for part, table in (('train', 'train_labels.csv'), ('validation', 'val_labels.csv')):
        for row in rows(tmp_path / 'datasets' / table):
            path = tmp_path / 'datasets' / part / f'{row["slide"]}_{row["rid"]}.tif'
            expected[str(path)] = 100 * float(row['y'])
    found, slides = {}, []
    for part in PARTS:
        data = data_set('breastpathq/resnet18_finetune_breastpathq.py', part, tmp_path)
        infos = [data.get_data_info(index) for index in range(len(data))]
        assert not found.keys() & {info['img_path'] for info in infos}
        found |= {info['img_path']: float(info['gt_score'][0]) for info in infos}
        slides.append({Path(info['img_path']).stem.split('_')[0] for info in infos})
    assert found == pytest.approx(expected)
    assert disjoint(slides)
    assert convert('breastpathq', tmp_path, '--group-by', 'image') == 0
    assert (tmp_path / 'splits_image/train.csv').is_file()


def test_gleason(tmp_path, capsys):
    raw, out = tmp_path / 'raw', tmp_path / 'Gleason2019'
    write_layout('gleason2019', raw, 8, (460, 450))
    assert convert('gleason2019', raw, '--out', out) == 0
    found = check_config('gleason2019/resnet18_finetune_gleason2019.py', out)
    assert set(found.values()) <= set(GRADES.values())
    assert found.keys() == {str(path.relative_to(out)) for path in out.rglob('*.png')}
    assert len(found) == 32
    cores = [{row['path'].split('/')[1] for row in rows(out / 'splits' / f'{part}.csv')} for part in PARTS]
    assert disjoint(cores)
    core = read_image(str(raw / 'Train_imgs/slide001_core001.jpg'))
    tile = read_image(str(out / 'tiles/slide001_core001/slide001_core001_x224_y0.png'))
    np.testing.assert_array_equal(tile, core[:224, 224:448])
    capsys.readouterr()
    assert convert('gleason2019', raw, '--out', out) == 0
    assert 'holds these tiles already' in capsys.readouterr().out
    for options, message in (
        (['--side', '300'], '--side is 300, expected a multiple of 224'),
        (['--recode', '6'], '--recode is 6, expected CODE=CODE such as 6=1'),
        (['--recode', '6=2'], '--recode makes codes 2, expected 0 or one of 1, 3, 4, 5'),
        (['--min-graded', '2'], '--min-graded is 2.0, expected a share from 0 to 1'),
    ):
        with pytest.raises(SystemExit):
            convert('gleason2019', raw, '--out', out, *options)
        assert message in capsys.readouterr().err


def segmentation_pairs(config, root):
    """Images and masks of the data sets of a config."""
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    pairs = {}
    for part in PARTS:
        data = data_set(config, part, root)
        infos = [data.get_data_info(index) for index in range(len(data))]
        pairs |= {info['img_path']: (part, info['seg_map_path'], len(data.metainfo['classes'])) for info in infos}
    return pairs


def check_masks(pairs):
    seen = set()
    for image, (_, mask, classes) in pairs.items():
        codes = read_image(mask)[..., 0]
        assert codes.shape == read_image(image).shape[:2]
        assert set(np.unique(codes)) <= {*range(classes), 255}
        seen |= set(np.unique(codes).tolist())
    return seen


def test_digestpath(tmp_path, capsys):
    raw, out = tmp_path / 'raw', tmp_path / 'DigestPath2019'
    write_layout('digestpath2019', raw, 12, (100, 70))
    assert convert('digestpath2019', raw, '--out', out, '--side', '64') == 0
    assert 'note: 8 pictures, the published set has 250' in capsys.readouterr().out
    pairs = segmentation_pairs('digestpath2019/unet_resnet18_digestpath2019.py', out)
    assert len(pairs) == 8 * 4
    assert check_masks(pairs) == {0, 1, 255}
    slides = {
        part: {Path(image).name.split('-lv')[0] for image, (own, *_) in pairs.items() if own == part} for part in PARTS
    }
    assert disjoint(slides.values())
    few = data_set('digestpath2019/unet_resnet18_digestpath2019.py', 'train', out, ann_file='train_5_0.txt')
    names = (out / 'train_5_0.txt').read_text().split()
    infos = [few.get_data_info(index) for index in range(len(few))]
    assert [Path(info['img_path']).stem for info in infos] == names
    assert all(info['img_path'] in pairs and Path(info['seg_map_path']).is_file() for info in infos)
    for row in rows(out / 'summary.csv'):
        assert int(row['normal']) + int(row['lesion']) == 100 * 70, 'every pixel once'
    with pytest.raises(SystemExit):
        convert('digestpath2019', raw, '--out', out, '--side', '64', '--stride', '65')
    assert 'expected a stride from 1 to the side' in capsys.readouterr().err


def test_bach_slides(tmp_path, capsys):
    raw, out = tmp_path / 'raw', tmp_path / 'BACH_WSI'
    write_layout('bach-wsi', raw, 3, 1024)
    assert convert('bach_wsi', raw / 'WSI', '--out', out, '--side', '384') == 0
    assert 'note: 3 slides with outlines, the published set has 10' in capsys.readouterr().out
    pairs = segmentation_pairs('bach/unet_resnet18_bach.py', out)
    assert {0, 3, 255} <= check_masks(pairs) <= {0, 1, 2, 3, 255}
    summary = rows(out / 'summary.csv')
    assert {row['split'] for row in summary} == set(PARTS)
    assert sum(int(row['tiles']) for row in summary) == len(pairs)
    assert all(int(row['tiles']) + int(row['left_out']) == 9 for row in summary)
    (raw / 'WSI/A02.xml').write_text(
        '<Annotations><Annotation><Regions><Region Text="?"/></Regions></Annotation></Annotations>'
    )
    assert convert('bach_wsi', raw / 'WSI', '--out', tmp_path / 'other') == 1
    assert "A02.xml: region 1 is called '?', expected one of benign, in situ, invasive" in capsys.readouterr().err
