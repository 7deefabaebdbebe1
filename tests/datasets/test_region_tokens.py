"""Crops and flips of grids of tokens, on tokens that hold their own place; and which regions a data set has."""

import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from region_stores import draw_tokens
from small_runs import REPO
from torch.utils.data import DataLoader

from histomm.datasets import RegionTokenDataset, SampleIndex
from histomm.datasets.transforms import PackTokens, TokenCrop, TokenFlip
from histomm.models import TokenDataPreprocessor
from histomm.wsi.token_store import TokenStoreWriter

PIPELINE = Config.fromfile(str(REPO / 'configs/hipt/dino_vit4k-xs_regions.py')).train_dataloader.dataset.pipeline
SLIDES = {'d/two.svs': 2, 'one.tif': 1, 'three.tif': 3}


@pytest.fixture(scope='module')
def places(tmp_path_factory):
    """A store whose tokens are (number of the region, row, column)."""
    root = tmp_path_factory.mktemp('places') / 'store'
    writer = TokenStoreWriter(root, 3, (16, 16), 'float16')
    row, column = np.divmod(np.arange(256), 16)
    number = 0
    for slide, count in SLIDES.items():
        tokens = [np.stack([np.full(256, number + k), row, column], axis=1) for k in range(count)]
        writer.write(slide, np.array([[64 * k, number] for k in range(count)]), np.stack(tokens), (64, 64))
        number += count
    writer.finish()
    return root


def test_the_views_are_what_they_say(places):
    """Two of 14×14 and eight of 6×6: each token is that of its place in the crop, columns reversed where flipped."""
    dataset = RegionTokenDataset(places, pipeline=PIPELINE)
    flipped, corners = [], []
    for epoch in range(20):
        item = dataset[SampleIndex(4, seed=1, epoch=epoch)]
        assert [tuple(view.shape) for view in item['inputs']] == [(3, 14, 14)] * 2 + [(3, 6, 6)] * 8
        sample = item['data_samples']
        assert (sample.sample_idx, sample.slide_index) == (4, 2)
        for view, box, flip in zip(item['inputs'], sample.crop_box, sample.hflip, strict=True):
            x1, y1, x2, y2 = map(int, box)
            rows, columns = torch.meshgrid(torch.arange(y1, y2), torch.arange(x1, x2), indexing='ij')
            if flip:
                columns = columns.flip(1)
            assert torch.equal(view, torch.stack([torch.full_like(rows, 4), rows, columns]).half())
            flipped.append(flip)
            corners.append((x2 - x1, x1, y1))
    assert 60 < sum(flipped) < 140  # of 200, 5.7 deviations to either side
    assert {corner[1:] for corner in corners if corner[0] == 14} == {(x, y) for x in range(3) for y in range(3)}
    small = np.array([corner[1:] for corner in corners if corner[0] == 6])
    assert small.min(0).tolist() == [0, 0]
    assert small.max(0).tolist() == [10, 10]


def test_draws_hang_on_seed_epoch_sample_and_view_alone(places):
    dataset = RegionTokenDataset(places, pipeline=PIPELINE)

    def boxes(seed, epoch, index):
        return dataset[SampleIndex(index, seed=seed, epoch=epoch)]['data_samples'].crop_box

    assert boxes(0, 0, 1) == boxes(0, 0, 1)
    assert len({boxes(*key) for key in ((0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 2))}) == 4
    assert len(set(boxes(0, 0, 1)[2:])) > 1
    indices = [SampleIndex(index, seed=3, epoch=2) for index in range(6)]
    batches = [
        next(iter(DataLoader(dataset, 6, sampler=indices, num_workers=workers, collate_fn=default_collate)))
        for workers in (0, 2)
    ]
    for one, other in zip(*(batch['inputs'] for batch in batches), strict=True):
        assert torch.equal(one, other)
    prepared = TokenDataPreprocessor()(batches[0])
    assert [view.dtype for view in prepared['inputs']] == [torch.float32] * 10
    assert torch.equal(prepared['inputs'][3], batches[0]['inputs'][3].float())
    assert prepared['data_samples'] is batches[0]['data_samples']
    assert torch.equal(TokenDataPreprocessor()(dict(inputs=[list(batches[0]['inputs'][0])]))['inputs'][0].half(),
                       batches[0]['inputs'][0])  # fmt: skip
    with pytest.raises(ValueError, match=r'grids of shape \(2, 3\), expected \(B, D, h, w\)'):
        TokenDataPreprocessor()(dict(inputs=[torch.zeros(2, 3)]))


def test_regions_and_their_slides(places):
    dataset = RegionTokenDataset(places)
    assert dataset.slide_names == sorted(SLIDES)
    assert dataset.region_slides.tolist() == [0, 0, 1, 2, 2, 2]
    tokens = dataset.read_tokens([5, 0])
    assert tokens.dtype == torch.float32
    assert tokens.shape == (2, 3, 16, 16)
    assert tokens[:, 0, 0, 0].tolist() == [5, 0]
    assert tokens[0, 1:, 7, 2].tolist() == [7, 2]
    item = dataset[3]
    assert (item['slide'], item['slide_index'], item['region']) == ('three.tif', 2, (0, 3))
    assert item['img'].shape == (16, 16, 3)
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy.read_tokens([1]), dataset.read_tokens([1]))


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('fold.txt', 'three.tif\n\nd/two.svs\n'),
        ('fold.csv', 'label,slide\n1,three\n0,d/two\n'),
    ],
)
def test_slides_of_a_file(places, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    dataset = RegionTokenDataset(places, slides_file=str(tmp_path / name))
    assert dataset.slide_names == ['d/two.svs', 'three.tif']
    assert dataset.region_slides.tolist() == [0, 0, 1, 1, 1]
    assert dataset.read_tokens(range(5))[:, 0, 0, 0].tolist() == [0, 1, 3, 4, 5]
    subset = dataset.get_subset([4, 2])
    assert subset.slide_names == ['three.tif']
    assert subset.region_slides.tolist() == [0, 0]
    assert subset.read_tokens([0, 1])[:, 0, 0, 0].tolist() == [5, 3]
    assert len(RegionTokenDataset(places, indices=2)) == 2


def test_slides_that_differ_in_suffix_alone(tmp_path):
    writer = TokenStoreWriter(tmp_path / 's', 2, (1, 1))
    for name in ('a.svs', 'a.tif', 'b', 'b.svs'):
        writer.write(name, np.zeros((1, 2)), np.zeros((1, 1, 2)), (1, 1))
    writer.finish()
    listed = tmp_path / 'fold.txt'
    listed.write_text('a.svs\nb\n')
    assert RegionTokenDataset(tmp_path / 's', slides_file=str(listed)).slide_names == ['a.svs', 'b']
    listed.write_text('b.svs\na\n')
    with pytest.raises(ValueError, match=r'fold.txt names a, which may be a.svs and a.tif; add the suffix'):
        RegionTokenDataset(tmp_path / 's', slides_file=str(listed))


def test_what_a_data_set_refuses(places, tmp_path):
    listed = tmp_path / 'fold.txt'
    listed.write_text('one.tif\nnone.tif\n')
    with pytest.raises(ValueError, match=r'1 of 2 slides that .*fold.txt names have no region in .*, such as none.tif'):
        RegionTokenDataset(places, slides_file=str(listed))
    listed.write_text('\n')
    with pytest.raises(ValueError, match=r'fold.txt names no slide; list some, or leave slides_file empty'):
        RegionTokenDataset(places, slides_file=str(listed))
    (tmp_path / 'fold.csv').write_text('name\na\n')
    with pytest.raises(ValueError, match=r"fold.csv: columns \['name'\], expected one called slide"):
        RegionTokenDataset(places, slides_file=str(tmp_path / 'fold.csv'))
    with pytest.raises(FileNotFoundError, match=r'list of slides no.txt does not exist; correct slides_file'):
        RegionTokenDataset(places, slides_file='no.txt')
    with pytest.raises(ValueError, match='tokens have 3 numbers, expected 384'):
        RegionTokenDataset(places, dim=384)
    with pytest.raises(ValueError, match='expected 00: another encoder'):
        RegionTokenDataset(places, digest='00')
    with pytest.raises(FileNotFoundError, match=r'index.parquet does not exist; make it with tools/wsi/extract_region'):
        RegionTokenDataset(tmp_path)


def test_what_transforms_refuse():
    grid = np.zeros((4, 5, 2), np.float16)
    with pytest.raises(ValueError, match=r'TokenCrop: size is \(5, 5\), expected at most the grid of \(4, 5\) tokens'):
        TokenCrop(5)(dict(img=grid))
    assert TokenCrop((4, 2))(dict(img=grid))['img'].shape == (4, 2, 2)
    with pytest.raises(ValueError, match='TokenCrop: size is 0, expected at least 1'):
        TokenCrop(0)
    with pytest.raises(ValueError, match=r'TokenFlip: prob is 1.5, expected a probability'):
        TokenFlip(1.5)
    with pytest.raises(KeyError, match='slide_index'):
        PackTokens()(dict(img=grid))
    assert 'size=(5, 5)' in repr(TokenCrop(5))
    assert 'prob=0.5' in repr(TokenFlip())


def test_a_drawn_store_is_what_tests_take_it_for(tmp_path):
    dataset = RegionTokenDataset(draw_tokens(tmp_path, dim=6, slides=3, regions=2, grid=4), slides_file='slides.csv')
    assert dataset.region_slides.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.store.settings['patch'] == 16
