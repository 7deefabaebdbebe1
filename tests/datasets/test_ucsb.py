"""Breast cancer cells of UCSB: names, lists, drawn ones, and the real images."""

import csv
from collections import Counter

import numpy as np
import pytest
import tifffile
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from small_runs import REPO
from tool_modules import load_tool

from histomm.datasets.label_maps import ConversionError
from histomm.datasets.synthetic import write_layout
from histomm.datasets.ucsb import find_ucsb, parse_ucsb_name
from histomm.registry import DATASETS, MODELS

PARTS = ('train', 'val', 'test')


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def convert(*arguments):
    return load_tool('tools/dataset_converters/ucsb.py').main([str(argument) for argument in arguments])


def rows(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def test_names():
    assert parse_ucsb_name('ytma10_010704_benign1_ccd.tif') == ('benign', 'ytma10_010704', 1)
    assert parse_ucsb_name('ytma55_030603_malignant12_ccd') == ('malignant', 'ytma55_030603', 12)
    for name in ('ytma10_010704_normal1_ccd.tif', 'ytma10_benign1_ccd.tif', 'ytma10_010704_benign1.TIF', 'a.tif'):
        with pytest.raises(ConversionError, match=f'^{name} is no name of the cells of UCSB, expected ytma<array>_'):
            parse_ucsb_name(name)


def test_images_are_found_and_masks_are_not(tmp_path):
    good = ['Images/ytma1_2_benign1_ccd.tif', 'Images/ytma1_2_malignant1_ccd.tif']
    touch(tmp_path / 'a', *good, 'Masks/ytma1_2_benign1.TIF', 'notes.txt', '__MACOSX/._x.tif')
    assert list(find_ucsb(tmp_path / 'a')) == good
    touch(tmp_path / 'a', 'more/ytma1_2_benign1_ccd.tif')
    with pytest.raises(ConversionError, match=r'Images/ytma1_2_benign1_ccd\.tif and .*more/.* have the same name'):
        find_ucsb(tmp_path / 'a')
    touch(tmp_path / 'b', 'ytma1_2_benign1_ccd.tif')
    with pytest.raises(ConversionError, match='holds no malignant images; give the folder BreastCancerCell_dataset'):
        find_ucsb(tmp_path / 'b')
    with pytest.raises(ConversionError, match='is not a folder'):
        find_ucsb(tmp_path / 'none')


def test_lists_of_drawn_images(tmp_path, capsys):
    root = tmp_path / 'BreastCancerCell_dataset'
    write_layout('ucsb', root, 30, 32)
    assert convert(root) == 0
    assert 'note: 15 benign images, the published set has 32' in capsys.readouterr().out
    found = {part: rows(root / 'splits' / f'{part}.csv') for part in PARTS}
    assert [Counter(row['label'] for row in found[part]) for part in PARTS] == [
        dict(benign=9, malignant=9), dict(benign=3, malignant=3), dict(benign=3, malignant=3)
    ]  # fmt: skip
    paths = [row['path'] for part in PARTS for row in found[part]]
    assert sorted(paths) == sorted(path.name for path in root.glob('*.tif'))
    assert convert(root, '--group-by', 'array') == 0
    arrays = [{row['group'] for row in rows(root / 'splits_array' / f'{part}.csv')} for part in PARTS]
    assert sum(map(len, arrays)) == len(set.union(*arrays)) == 5
    touch(root, 'other.tif')
    assert convert(root, '--out', tmp_path / 'lists') == 1
    assert 'ucsb: other.tif is no name of the cells of UCSB' in capsys.readouterr().err
    assert not (tmp_path / 'lists').exists()


def test_real_images_come_red_first(real_data, tmp_path):
    """Real names, sizes and modes, from the file to what enters the network.

    Nuclei, the darkest pixels, are violet to blue: haematoxylin takes away more red than blue. With red and blue
    swapped they would be red to brown.
    """
    root = real_data / 'ucsb/BreastCancerCell_dataset'
    found = find_ucsb(root)
    assert Counter(name.label for name in found.values()) == dict(benign=2, malignant=2)
    table = tmp_path / 'all.csv'
    table.write_text('path,label\n' + ''.join(f'{path},{name.label}\n' for path, name in found.items()))
    init_default_scope('histomm')
    cfg = Config.fromfile(REPO / 'configs/ucsb/resnet50_finetune_ucsb.py')
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, data_root=str(root), list_file=str(table)))
    preprocess = MODELS.build(cfg.model.data_preprocessor)
    assert len(dataset) == 4 * 16
    for index, (path, name) in enumerate(found.items()):
        truth = tifffile.imread(root / path)
        assert (truth.shape, truth.dtype) == ((768, 896, 3), np.uint8)
        dark = truth.sum(axis=2) <= np.percentile(truth.sum(axis=2), 5)
        assert truth[dark].mean(axis=0)[0] < truth[dark].mean(axis=0)[2] - 10
        batch = pseudo_collate([dataset[16 * index], dataset[16 * index + 15]])
        assert [sample.gt_label.item() for sample in batch['data_samples']] == [int(name.label == 'malignant')] * 2
        patches = np.stack([truth[:224, :224], truth[544:, 672:]])
        np.testing.assert_array_equal(torch.stack(batch['inputs']).permute(0, 2, 3, 1).numpy(), patches)
        expected = (patches - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
        entered = preprocess(dict(batch))['inputs'].permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(entered, expected, atol=1e-5)
