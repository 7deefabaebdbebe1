import itertools
import pickle
import shutil

import numpy as np
import pytest
import tifffile
import torch
from torch.utils.data import DataLoader

from histomm.datasets import NeighbourhoodSampler, SampleIndex, SeededSampler, SlideTileDataset
from histomm.datasets.patients import PatientOverlapError
from histomm.datasets.synthetic import write_layout
from histomm.datasets.transforms.loading import UnreadableImageError
from histomm.doctor.data_check import check_dataset
from histomm.doctor.findings import Report
from histomm.registry import DATASETS
from histomm.wsi.reader import open_slide
from histomm.wsi.tile_reading import read_tiles
from histomm.wsi.tile_table import concat_tiles, tiles_of_slide, write_tiles

VIEW = [
    dict(type='histomm.RandomResizedCrop', size=32, scale=(0.2, 1.0)),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
]
VIEWS = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.MultiView', views=[dict(pipeline=VIEW, num=2)]),
    dict(type='histomm.PackViews'),
]


@pytest.fixture(scope='module')
def slides(tmp_path_factory):
    """Three slides and a table of their tiles of 64 pixels at 1 µm, every second place of a grid of half a tile."""
    root = tmp_path_factory.mktemp('drawn')
    paths = write_layout('slides', root, 3, 640, seed=0)
    corners = np.array([(x, y) for y in range(0, 600, 64) for x in range(y % 128, 600, 128)])
    tables = [tiles_of_slide(path.name, corners, 64, 1.0, np.linspace(0, 1, len(corners))) for path in paths]
    write_tiles(root / 'tiles.parquet', concat_tiles(tables, {}))
    return root


def build(slides, pipeline=(), **options):
    options = dict(data_root=str(slides / 'slides'), tiles=str(slides / 'tiles.parquet'), pipeline=pipeline) | options
    return DATASETS.build(dict(type='histomm.SlideTileDataset', **options))


def loaded(dataset, sampler, workers=0, context=None, batch_size=16):
    """Views of each sample by its index."""
    options = dict(batch_size=batch_size, sampler=sampler, num_workers=workers, multiprocessing_context=context)
    batches = DataLoader(dataset, collate_fn=list, **options)
    return {s['data_samples'].sample_idx: s['inputs'] for s in itertools.chain(*batches)}


class TestSamples:
    def test_tile_is_what_the_slide_shows_there(self, slides):
        dataset = build(slides, [dict(type='histomm.LoadPatch')])
        assert len(dataset) == 150
        for index in (0, 17, 60, 149):
            sample = dataset[index]
            x, y = sample['tile']
            truth = open_slide(sample['img_path']).read(x, y, 64, 64, 1.0)
            np.testing.assert_array_equal(sample['img'], truth)
            assert sample['img_shape'] == (64, 64)

    def test_tiles_of_a_batch_are_those_read_alone(self, slides):
        dataset = build(slides)
        order = [*range(20), 70, 5, 5, 149, 0]
        together = dataset.__getitems__(order)
        assert [sample['sample_idx'] for sample in together] == order
        for index, sample in zip(order, together, strict=True):
            np.testing.assert_array_equal(sample['img'], dataset[index]['img'])

    def test_tiles_with_too_little_tissue_are_left_out(self, slides):
        assert len(build(slides, min_foreground=0.5)) == 75

    def test_subsets_keep_their_tiles(self, slides):
        dataset = build(slides)
        assert [build(slides, indices=7)[i]['tile'] for i in range(7)] == [dataset[i]['tile'] for i in range(7)]
        subset = dataset.get_subset([149, 3])
        assert [subset[i]['img_path'] for i in range(2)] == [dataset[i]['img_path'] for i in (149, 3)]
        np.testing.assert_array_equal(subset[1]['img'], dataset[3]['img'])
        assert len(dataset.get_subset(-5)) == 5

    def test_patients_are_kept_out(self, slides, tmp_path):
        names = sorted(path.name for path in (slides / 'slides').glob('*.tif'))
        (tmp_path / 'test.txt').write_text(names[0][:12] + '\n')
        dataset = build(slides, exclude_patients=str(tmp_path / 'test.txt'))
        assert {sample[:12] for sample in dataset.data_list.names} == {names[2][:12]}
        assert len(dataset) == 50
        with pytest.raises(PatientOverlapError, match='SlideTileDataset: found 2 of 3 images, of 1 participants'):
            build(slides, exclude_patients=str(tmp_path / 'test.txt'), patient_overlap='raise')
        assert len(build(slides, exclude=['*-DX2.tif'])) == 100


class TestErrors:
    def test_nothing_left(self, slides):
        with pytest.raises(ValueError, match=r'no tiles are left of those in .*; lower min_foreground'):
            build(slides, min_foreground=1.1)
        with pytest.raises(ValueError, match='tiles is empty, expected a tile table'):
            build(slides, tiles=[])

    def test_missing_files(self, slides, tmp_path):
        with pytest.raises(FileNotFoundError, match=r'3 of 3 slides that .* names are not in .*; correct data_root'):
            build(slides, data_root=str(tmp_path))
        with pytest.raises(FileNotFoundError, match=r'tile table .* does not exist'):
            build(slides, tiles=str(tmp_path / 'none.parquet'))

    def test_slide_without_a_pixel_size(self, slides, tmp_path):
        tifffile.imwrite(tmp_path / 'bare.tif', np.zeros((256, 256, 3), np.uint8), photometric='rgb', tile=(128, 128))
        table = tiles_of_slide('bare.tif', np.array([[0, 0]]), 64, 1.0, np.ones(1))
        write_tiles(tmp_path / 'tiles.parquet', table)
        options = dict(data_root=str(tmp_path), tiles=str(tmp_path / 'tiles.parquet'))
        with pytest.raises(UnreadableImageError, match=r'bare.tif: the file has no pixel size; give mpp, or a CSV'):
            build(slides, **options)[0]
        (tmp_path / 'mpp.csv').write_text('slide,mpp\nbare.tif,0.5\n')
        assert build(slides, **options, mpp_table=str(tmp_path / 'mpp.csv'))[0]['img'].shape == (64, 64, 3)

    def test_broken_slide_stops_or_is_skipped(self, slides, tmp_path):
        folder = tmp_path / 'slides'
        folder.mkdir()
        for path in (slides / 'slides').glob('*.tif'):
            (folder / path.name).write_bytes(path.read_bytes())
        broken = sorted(folder.iterdir())[1]
        broken.write_bytes(broken.read_bytes()[:40])
        dataset = build(slides, data_root=str(folder))
        with pytest.raises(UnreadableImageError, match=rf"{broken.name}: cannot be opened.*set unreadable='skip'"):
            dataset.__getitems__([50, 51])
        dataset = build(slides, data_root=str(folder), unreadable='skip')
        samples = dataset.__getitems__([SampleIndex(i, 1, 2) for i in (49, 50, 51)])
        assert all(sample['img_path'] != str(broken) for sample in samples)
        again = build(slides, data_root=str(folder), unreadable='skip')
        for index, sample in zip((49, 50, 51), samples, strict=True):
            np.testing.assert_array_equal(again[SampleIndex(index, 1, 2)]['img'], sample['img'])
        assert set(dataset.unreadable_files()) == {str(broken)}

    def test_doctor_reads_some_tiles(self, slides, tmp_path):
        options = dict(type='histomm.SlideTileDataset', tiles=str(slides / 'tiles.parquet'))
        report = Report()
        check_dataset(report, 'train', dict(options, data_root=str(slides / 'slides')))
        assert not report.faults
        folder = tmp_path / 'slides'
        shutil.copytree(slides / 'slides', folder)
        broken = sorted(folder.iterdir())[0]
        broken.write_bytes(b'')
        check_dataset(report, 'train', dict(options, data_root=str(folder)))
        assert f'{broken} is not readable at (0, 0) ({broken}: is empty, expected a slide' in str(report.faults[0])


class TestLoading:
    def test_views_do_not_depend_on_workers_nor_on_order(self, slides):
        dataset = build(slides, VIEWS)
        truth = loaded(dataset, SeededSampler(dataset, seed=3))
        assert len(truth) == len(dataset)
        for sampler, workers, context, size in [
            (NeighbourhoodSampler(dataset, side=256, seed=3), 0, None, 16),
            (NeighbourhoodSampler(dataset, side=128, seed=3), 2, 'fork', 7),
        ]:
            views = loaded(dataset, sampler, workers, context, size)
            assert views.keys() == truth.keys()
            assert all(torch.equal(a, b) for key in truth for a, b in zip(views[key], truth[key], strict=True))

    def test_mpp_table_may_name_the_file_alone(self, tmp_path):
        (tmp_path / 'deep').mkdir()
        image = np.full((256, 256, 3), 99, np.uint8)
        tifffile.imwrite(tmp_path / 'deep/bare.tif', image, photometric='rgb', tile=(128, 128))
        write_tiles(tmp_path / 't.parquet', tiles_of_slide('deep/bare.tif', np.array([[8, 8]]), 64, 1.0, np.ones(1)))
        (tmp_path / 'mpp.csv').write_text('slide,mpp\nbare.tif,0.5\n')
        dataset = SlideTileDataset(str(tmp_path), str(tmp_path / 't.parquet'), mpp_table=str(tmp_path / 'mpp.csv'))
        assert (dataset[0]['img'] == 99).all()

    def test_pickled_data_set_reads_the_same(self, slides):
        dataset = build(slides, VIEWS)
        dataset[0]
        again = pickle.loads(pickle.dumps(dataset))
        index = SampleIndex(40, 1, 1)
        first, second = dataset[index], again[index]
        assert all(torch.equal(a, b) for a, b in zip(first['inputs'], second['inputs'], strict=True))

    def test_spawned_workers(self, slides):
        dataset = build(slides, VIEWS, indices=8)
        truth = loaded(dataset, SeededSampler(dataset, seed=3))
        views = loaded(dataset, SeededSampler(dataset, seed=3), 1, 'spawn')
        assert all(torch.equal(a, b) for key in truth for a, b in zip(views[key], truth[key], strict=True))


class TestNeighbourhoods:
    def sampler(self, dataset, rank=0, world=1, **options):
        sampler = NeighbourhoodSampler(dataset, seed=5, **options)
        sampler.rank, sampler.world_size = rank, world
        return sampler

    def test_an_epoch_has_every_tile_once_and_neighbours_together(self, slides):
        dataset = build(slides)
        sampler = self.sampler(dataset, side=256)
        order = list(map(int, sampler))
        assert sorted(order) == list(range(150))
        slide, x, y = dataset.positions()
        near = np.maximum(np.abs(np.diff(x[order])), np.abs(np.diff(y[order]))) < 256
        same = near & (np.diff(slide[order]) == 0)
        assert same.mean() > 0.7
        shuffled = np.diff(slide[list(map(int, SeededSampler(dataset, seed=5)))]) == 0
        assert shuffled.mean() < 0.5

    def test_epochs_differ_in_order_and_in_neighbours(self, slides):
        sampler = self.sampler(build(slides), side=256)
        first = list(map(int, sampler))
        assert list(map(int, sampler)) == first
        sampler.set_epoch(1)
        second = list(map(int, sampler))
        assert sorted(second) == sorted(first)
        pairs = [set(itertools.pairwise(order)) for order in (first, second)]
        assert len(pairs[0] - pairs[1]) > 20

    def test_ranks_share_an_epoch_and_read_whole_neighbourhoods(self, slides):
        dataset = build(slides)
        parts = [list(map(int, self.sampler(dataset, rank, 3, side=256))) for rank in range(3)]
        assert sorted(itertools.chain(*parts)) == list(range(150))
        slide, x, y = dataset.positions()
        for part in parts:
            near = np.maximum(np.abs(np.diff(x[part])), np.abs(np.diff(y[part]))) < 256
            assert (near & (np.diff(slide[part]) == 0)).mean() > 0.65

    def test_stream_is_the_epochs_one_after_the_other(self, slides):
        dataset = build(slides)
        stream = list(map(int, itertools.islice(self.sampler(dataset, infinite=True), 300)))
        finite = self.sampler(dataset)
        epochs = []
        for epoch in range(2):
            finite.set_epoch(epoch)
            epochs += map(int, finite)
        assert stream == epochs

    def test_without_shuffle_the_table_gives_the_order(self, slides):
        assert list(map(int, self.sampler(build(slides), shuffle=False))) == list(range(150))

    def test_bad_arguments(self, slides):
        with pytest.raises(TypeError, match='list does not know where its samples lie, expected a SlideTileDataset'):
            NeighbourhoodSampler([1, 2])
        with pytest.raises(ValueError, match='side is 0, expected a positive number of level-0 pixels'):
            NeighbourhoodSampler(build(slides), side=0)


class TestReadTiles:
    def test_equal_to_reading_each(self, slides):
        slide = open_slide(sorted((slides / 'slides').glob('*.tif'))[0])
        rng = np.random.default_rng(0)
        corners = np.sort(rng.integers(-80, 620, (40, 2)), axis=0)
        for mpp in (None, 0.5, 0.7, 1.0, 2.3):
            tiles = read_tiles(slide, corners, 48, mpp)
            for (x, y), tile in zip(corners.tolist(), tiles, strict=True):
                np.testing.assert_array_equal(tile, slide.read(x, y, 48, 48, mpp))

    def test_neighbours_are_decoded_once(self, slides, monkeypatch):
        slide = open_slide(sorted((slides / 'slides').glob('*.tif'))[0])
        regions = []
        monkeypatch.setattr(
            slide, 'read_level', lambda level, box: regions.append(box) or type(slide).read_level(slide, level, box)
        )
        corners = [(x, y) for y in (0, 64, 128) for x in (0, 64, 128)]
        read_tiles(slide, np.array([*corners, (500, 500)]), 64)
        assert regions == [(0, 0, 192, 192), (500, 500, 564, 564)]

    def test_no_tiles(self, slides):
        slide = open_slide(sorted((slides / 'slides').glob('*.tif'))[0])
        assert read_tiles(slide, np.empty((0, 2)), 64) == []


def test_registered():
    assert DATASETS.get('histomm.SlideTileDataset') is SlideTileDataset
