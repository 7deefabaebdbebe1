"""Masks of BCSS as the loaders of mmseg see them."""

import pickle

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from PIL import Image

from histomm.datasets.bcss import CLASSES, PALETTE, group_labels
from histomm.datasets.samplers import SampleIndex
from histomm.registry import DATASETS

FIVE = dict(
    tumor=[1, 19, 20],
    stroma=[2],
    inflammatory=[3, 10, 11],
    necrosis=[4],
    other=[5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 18, 21],
)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Two patients with a patch each, the mask of which holds the codes 0 to 21 in each row."""
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    root = tmp_path_factory.mktemp('bcss')
    for name in ('TCGA-A1-0001/a', 'TCGA-OL-0002/b'):
        for kind, pixels in (('img', np.zeros((2, 22, 3), np.uint8)), ('mask', np.uint8([range(22)] * 2))):
            path = root / 'train' / kind / f'{name}.png'
            path.parent.mkdir(parents=True)
            Image.fromarray(pixels).save(path)
    return root


def build(root, **options):
    return DATASETS.build(
        dict(
            type='histomm.BCSSDataset',
            data_root=str(root),
            data_prefix=dict(img_path='train/img', seg_map_path='train/mask'),
            pipeline=[dict(type='histomm.LoadPatch'), dict(type='histomm.LoadBCSSMask')],
        )
        | options
    )


def labels(dataset):
    return dataset[0]['gt_seg_map'][0].tolist()


def test_only_code_zero_is_ignored_and_tumour_is_the_first_class(root):
    dataset = build(root)
    assert len(dataset) == 2
    assert labels(dataset) == [255, *range(21)]
    assert dataset.metainfo['classes'][labels(dataset)[1]] == 'tumor'
    assert dataset.metainfo['classes'] == CLASSES


def test_names_are_those_of_the_codes():
    by_code = dict(enumerate(CLASSES, start=1))
    assert len(CLASSES) == len(set(PALETTE)) == 21
    assert [by_code[code] for code in (1, 2, 3, 4, 9, 13, 19, 20, 21)] == [
        'tumor', 'stroma', 'lymphocytic_infiltrate', 'necrosis_or_debris', 'fat', 'normal_acinus_or_duct',
        'angioinvasion', 'dcis', 'other',
    ]  # fmt: skip


def test_five_groups(root):
    dataset = build(root, groups=FIVE)
    # By hand, code by code.
    assert labels(dataset) == [255, 0, 1, 2, 3, 4, 4, 4, 4, 4, 2, 2, 4, 4, 4, 4, 4, 4, 4, 0, 0, 4]
    assert dataset.metainfo['classes'] == ('tumor', 'stroma', 'inflammatory', 'necrosis', 'other')
    assert dataset.metainfo['palette'][2] == list(PALETTE[2])


def test_codes_of_no_group_are_ignored(root):
    assert labels(build(root, groups=dict(tumor=[1], stroma=[2]))) == [255, 0, 1, *[255] * 19]


def test_classes_can_be_chosen_by_name_as_in_mmseg(root):
    dataset = build(root, metainfo=dict(classes=('fat', 'tumor')))
    assert labels(dataset) == [255, 1, *[255] * 7, 0, *[255] * 12]


@pytest.mark.parametrize(
    ('groups', 'message'),
    [
        (dict(a=[1, 2], b=[2]), r"the code 2 is in 'b' and in another group"),
        (dict(a=[0]), r"group 'a' holds the code 0, expected 1 to 21"),
        (dict(a=[22]), r"group 'a' holds the code 22"),
        (dict(a=[1], b=[]), r"group 'b' holds no code"),
    ],
)
def test_wrong_groups_are_named(groups, message):
    with pytest.raises(ValueError, match=message):
        group_labels(groups)


def test_groups_and_metainfo_exclude_each_other(root):
    with pytest.raises(ValueError, match='found groups and metainfo'):
        build(root, groups=FIVE, metainfo=dict(classes=('fat',)))


def test_the_class_can_be_imported_and_pickled_for_loader_workers(root):
    from mmseg.datasets import BaseSegDataset

    from histomm.datasets.bcss import BCSSDataset

    dataset = build(root)
    assert type(dataset) is BCSSDataset
    assert issubclass(BCSSDataset, BaseSegDataset)
    assert labels(pickle.loads(pickle.dumps(dataset))) == labels(dataset)


def test_seeds_of_the_sampler_reach_the_transforms(root):
    load = [dict(type='histomm.LoadPatch'), dict(type='mmseg.LoadAnnotations')]
    dataset = build(root, pipeline=[*load, dict(type='histomm.RandomFlip', prob_h=0.5)])
    both = ConcatDataset([dataset, dataset])
    orders = [[both[SampleIndex(i, 1, epoch)]['gt_seg_map'][0, 0] for epoch in range(40)] for i in (0, 2)]
    again = [both[SampleIndex(0, 1, epoch)]['gt_seg_map'][0, 0] for epoch in range(40)]
    assert orders[0] == again
    assert set(orders[0]) == {20, 255}
    assert orders[0] != orders[1]


def test_missing_data_are_named_before_training(root, tmp_path):
    (tmp_path / 'train/img').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r'/train/mask is not a folder; correct .*converters/bcss\.py'):
        build(tmp_path)
    (tmp_path / 'train/mask').mkdir()
    with pytest.raises(ValueError, match=r'/train/img holds no image \*\.png'):
        build(tmp_path)
    for number in (1, 2):
        Image.new('RGB', (4, 4)).save(tmp_path / f'train/img/{number}.png')
    Image.new('L', (4, 4)).save(tmp_path / 'train/mask/1.png')
    with pytest.raises(FileNotFoundError, match=r'1 of 2 images have no mask, such as .*img/2\.png, .*mask/2\.png'):
        build(tmp_path)


@pytest.mark.parametrize('groups', [None, FIVE])
@pytest.mark.parametrize(
    ('mask', 'message'),
    [
        (np.uint8([[0, 22], [40, 21]]), r'a\.png: mask with the codes \[22, 40\], expected 0 to 21'),
        (np.zeros((2, 3), np.uint8), r'a\.png: mask of 3×2 pixels, expected 2×2 as .*img/a\.png has'),
    ],
)
def test_masks_that_cannot_be_are_named(tmp_path, mask, message, groups):
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    for kind, pixels in (('img', np.zeros((2, 2, 3), np.uint8)), ('mask', mask)):
        (tmp_path / 'train' / kind).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / 'train' / kind / 'a.png')
    with pytest.raises(ValueError, match=message):
        build(tmp_path, groups=groups)[0]


def test_the_size_that_counts_is_that_of_the_stored_image(root):
    pipeline = [
        dict(type='histomm.LoadPatch'),
        dict(type='mmseg.Resize', scale=(44, 4)),
        dict(type='histomm.LoadBCSSMask'),
    ]
    assert build(root, pipeline=pipeline)[0]['gt_seg_map'].shape == (2, 22)
