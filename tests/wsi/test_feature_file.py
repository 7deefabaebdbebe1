"""Feature files of slides: names, shapes and what is no bag."""

import h5py
import numpy as np
import pytest

from histomm.wsi.feature_file import bag_shape, find_bag, opened, read_bag, slide_stem


def write(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, 'w') as file:
        file.update(arrays)
    return path


@pytest.mark.parametrize(
    ('name', 'stem'),
    [
        ('slide.svs', 'slide'),
        ('slide.TIFF', 'slide'),
        ('TCGA-A7-A6VV-01Z-00-DX1.07AE0E16-A883', 'TCGA-A7-A6VV-01Z-00-DX1.07AE0E16-A883'),
        ('TCGA-A7-A6VV-01Z-00-DX1.07AE0E16-A883.svs', 'TCGA-A7-A6VV-01Z-00-DX1.07AE0E16-A883'),
        ('svs', 'svs'),
        ('.svs', '.svs'),
    ],
)
def test_only_suffixes_of_slides_are_taken_off(name, stem):
    assert slide_stem(name) == stem


def test_a_bag_is_found_by_the_name_of_its_slide(tmp_path):
    features = np.ones((3, 2), np.float16)
    for name in ('a.h5', 'b.c.hdf5', 'd/features.h5', 'e.svs.h5'):
        write(tmp_path / name, features=features)
    assert [find_bag(tmp_path, slide).name for slide in ('a', 'a.svs', 'b.c', 'b.c.tif')] == [
        'a.h5', 'a.h5', 'b.c.hdf5', 'b.c.hdf5',
    ]  # fmt: skip
    assert find_bag(tmp_path, 'd.svs') == tmp_path / 'd/features.h5'
    assert find_bag(tmp_path, 'e') is None


def test_features_are_read_in_single_precision(tmp_path):
    path = write(tmp_path / 'a.h5', features=np.arange(6, dtype=np.float64).reshape(3, 2))
    features, coords = read_bag(path)
    assert (features.dtype, features.tolist(), coords) == (np.float32, [[0, 1], [2, 3], [4, 5]], None)
    assert bag_shape(path) == (3, 2)


@pytest.mark.parametrize(
    ('name', 'error', 'message'),
    [
        ('a.npy', ValueError, r"a\.npy has the suffix '\.npy', expected one of \.h5, \.hdf5, \.zarr"),
        ('a.h5', FileNotFoundError, r'feature file .*a\.h5 does not exist; write it with tools/extract_features\.py'),
    ],
)
def test_what_is_no_feature_file_is_told(name, error, message, tmp_path):
    with pytest.raises(error, match=message), opened(tmp_path / name):
        pass
