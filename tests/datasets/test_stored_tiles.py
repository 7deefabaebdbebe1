"""Tiles in HDF5 files and shards are those that were stored."""

import pickle
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader

from histomm.datasets import StoredTileDataset, stored_tiles
from histomm.datasets.patients import PatientOverlapError
from histomm.datasets.transforms.loading import UnreadableImageError
from histomm.registry import DATASETS
from histomm.wsi.stores import open_store

SLIDES = ('TCGA-A1-A0SK-01Z.svs', 'deep/TCGA-A2-A0T2-01Z.svs')
LOAD = dict(type='histomm.LoadPatch')


def tile(slide, number):
    return np.full((8, 8, 3), 40 * (slide + 1) + 10 * number, np.uint8)


@pytest.fixture(params=['hdf5', 'webdataset'])
def root(request, tmp_path):
    for slide, name in enumerate(SLIDES):
        with open_store(tmp_path, name, request.param, dict(size=8, mpp=0.5), shard_size=2) as add:
            for number in range(3):
                add(8 * number, 0, 1.0, tile(slide, number))
    return tmp_path


def levels(samples):
    """Grey level of each sample; JPEG may be off by one."""
    return [round(float(sample['img'].mean()) / 10) * 10 for sample in samples]


def test_all_tiles_in_a_fixed_order(root):
    tiles = DATASETS.build(dict(type='histomm.StoredTileDataset', data_root=str(root), pipeline=[LOAD]))
    assert levels(tiles) == [40, 50, 60, 80, 90, 100]
    first = tiles[0]
    assert first['img'].shape == (8, 8, 3)
    assert first['img'].dtype == np.uint8
    assert first['img_path'].startswith(str(root / SLIDES[0]))
    assert levels(tiles.get_subset([5, 0])) == [100, 40]
    assert levels(StoredTileDataset(str(root), indices=2, pipeline=[LOAD])) == [40, 50]
    assert levels(pickle.loads(pickle.dumps(tiles))) == [40, 50, 60, 80, 90, 100]


def test_few_files_are_open_at_a_time(tmp_path, monkeypatch):
    for slide in range(4):
        with open_store(tmp_path, f'{slide}.svs', 'hdf5', dict(size=8, mpp=0.5)) as add:
            add(0, 0, 1.0, tile(slide, 0))
    monkeypatch.setattr(stored_tiles, '_MAX_OPEN', 2)
    tiles = StoredTileDataset(str(tmp_path), pipeline=[LOAD])
    assert levels(tiles[number] for number in (0, 1, 2, 3, 0)) == [40, 80, 120, 160, 40]
    assert [Path(path).name for path in tiles._open._files] == ['3.svs.h5', '0.svs.h5']


def test_loader_processes_open_files_of_their_own(root):
    tiles = StoredTileDataset(str(root), pipeline=[LOAD])
    tiles[0]
    loader = DataLoader(tiles, batch_size=2, num_workers=2, collate_fn=levels, multiprocessing_context='fork')
    assert list(loader) == [[40, 50], [60, 80], [90, 100]]


def test_leaves_out_files_and_participants(root):
    assert levels(StoredTileDataset(str(root), exclude=['deep/*'], pipeline=[LOAD])) == [40, 50, 60]
    (root / 'test.txt').write_text('TCGA-A1-A0SK\n')
    listed = dict(exclude_patients=str(root / 'test.txt'))
    assert levels(StoredTileDataset(str(root), **listed, pipeline=[LOAD])) == [80, 90, 100]
    with pytest.raises(PatientOverlapError, match='TCGA-A1-A0SK'):
        StoredTileDataset(str(root), **listed, patient_overlap='raise')


def test_damaged_tiles(root):
    tiles = StoredTileDataset(str(root), unreadable='skip', pipeline=[LOAD])
    store, place = (tiles.get_data_info(1)[name] for name in ('img_path', 'place'))
    if isinstance(place, int):
        with h5py.File(store) as file:
            chunk = file['tiles'].id.get_chunk_info_by_coord((1, 0, 0, 0))
        place = (chunk.byte_offset, chunk.size)
    with open(store, 'rb+') as file:
        file.seek(place[0])
        file.write(b'\xff' * place[1])
    assert tiles.why_unreadable(1).startswith(f'is not readable at {tiles.get_data_info(1)["tile"]} ({store}: tile ')
    assert tiles.why_unreadable(0) is None
    assert len(levels(tiles)) == 6
    assert tiles.unreadable_files() == [store]
    with pytest.raises(UnreadableImageError, match=r"cannot be read .*set unreadable='skip'"):
        StoredTileDataset(str(root), pipeline=[LOAD])[1]


def test_names_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match='expected files of h5, hdf5, tar'):
        StoredTileDataset(str(tmp_path))
    (tmp_path / 'a.h5').write_text('x')
    with pytest.raises(ValueError, match=r'a\.h5 is no file of tiles'):
        StoredTileDataset(str(tmp_path))
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file['other'] = 1
    with pytest.raises(ValueError, match=r'a\.h5 is no file of tiles .*tiles'):
        StoredTileDataset(str(tmp_path))
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file['tiles'] = np.zeros((2, 3, 8, 8), np.uint8)
    with pytest.raises(ValueError, match=r'are uint8 of the shape \(2, 3, 8, 8\), expected uint8'):
        StoredTileDataset(str(tmp_path))
    (tmp_path / 'a.h5').unlink()
    tarfile.TarFile(tmp_path / 'a.tar', 'w').close()
    with pytest.raises(ValueError, match=r'a\.tar holds no tiles'):
        StoredTileDataset(str(tmp_path))
