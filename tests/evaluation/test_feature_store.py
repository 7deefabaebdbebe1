"""Feature files hold what was written, whole or not at all, and never a mix of two settings."""

import h5py
import numpy as np
import pytest

from histomm.evaluation.feature_store import FeatureWriter, join_features, read_features, read_settings

SETTINGS = {'model': 'one', 'weights': 'abc'}


def write(path, settings=SETTINGS, total=10, rows=4, labels=None):
    writer = FeatureWriter(path, settings, total, rows)
    values = np.arange(total * 3, dtype=np.float32).reshape(total, 3)
    for start, end in writer.missing():
        writer.write(start, values[start:end])
    coords = np.stack((np.arange(total), np.arange(total) * 2), axis=1)
    names = [f'slide äöü {row}.svs' for row in range(total)]
    writer.finish(names, coords, labels, None if labels is None else ('A', 'B'), {'who': 'test'})
    return values, names, coords


@pytest.mark.parametrize('suffix', ['.h5', '.zarr'])
def test_what_is_read_is_what_was_written(tmp_path, suffix):
    if suffix == '.zarr':
        pytest.importorskip('zarr')
    labels = np.arange(10) % 2
    values, names, coords = write(tmp_path / f'f{suffix}', labels=labels)
    content = read_features(tmp_path / f'f{suffix}')
    np.testing.assert_array_equal(content.features, values)
    assert content.features.dtype == np.float32
    assert content.names.tolist() == names
    np.testing.assert_array_equal(content.coords, coords)
    np.testing.assert_array_equal(content.labels, labels)
    assert content.classes == ('A', 'B')
    assert content.settings == SETTINGS == read_settings(tmp_path / f'f{suffix}')
    assert content.provenance == {'who': 'test'}
    assert [path.name for path in tmp_path.iterdir()] == [f'f{suffix}'], 'nothing else is left'


def test_other_programs_find_the_same_in_the_hdf5_file(tmp_path):
    values, names, _ = write(tmp_path / 'f.h5')
    with h5py.File(tmp_path / 'f.h5') as file:
        assert sorted(file) == ['coords', 'features', 'names']
        np.testing.assert_array_equal(file['features'][:], values)
        assert [name.decode() for name in file['names'][:]] == names


def test_a_second_run_computes_what_is_missing_only(tmp_path):
    path = tmp_path / 'f.h5'
    first = FeatureWriter(path, SETTINGS, 10, 4)
    assert first.missing() == [(0, 4), (4, 8), (8, 10)]
    first.write(4, np.full((4, 2), 7.0))
    assert not path.exists()
    second = FeatureWriter(path, SETTINGS, 10, 4)
    assert second.missing() == [(0, 4), (8, 10)]
    with pytest.raises(RuntimeError, match='2 of 3 parts are missing'):
        second.finish(['x'] * 10)
    second.write(0, np.zeros((4, 2)))
    second.write(8, np.ones((2, 2)))
    second.finish([str(row) for row in range(10)])
    assert read_features(path).features[:, 0].tolist() == [0] * 4 + [7] * 4 + [1] * 2
    assert FeatureWriter(path, SETTINGS, 10, 4).missing() == []


@pytest.mark.parametrize('suffix', ['.h5', '.zarr'])
def test_a_full_disk_leaves_the_parts_and_no_file(tmp_path, small_disk, suffix):
    if suffix == '.zarr':
        pytest.importorskip('zarr')
    disk, resize = small_disk
    path, values = disk / f'f{suffix}', np.random.default_rng(0).normal(size=(600, 100)).astype(np.float32)

    def finish():
        writer = FeatureWriter(path, SETTINGS, 600, 200)
        for start, end in writer.missing():
            writer.write(start, values[start:end])
        writer.finish(['x'] * 600)

    with pytest.raises(OSError, match='No space left on device'):
        finish()
    assert [left.name for left in disk.iterdir()] == [f'.f{suffix}.parts']
    assert resize('20m') == 0
    finish()
    assert [left.name for left in disk.iterdir()] == [f'f{suffix}']
    np.testing.assert_array_equal(read_features(path).features, values)


def test_a_part_that_does_not_fit_on_the_disk_is_missing(small_disk):
    disk, _ = small_disk
    writer = FeatureWriter(disk / 'f.h5', SETTINGS, 4, 2)
    writer.write(0, np.ones((2, 20_000)))
    with pytest.raises(OSError, match='No space left on device'):
        writer.write(2, np.ones((2, 50_000)))
    assert FeatureWriter(disk / 'f.h5', SETTINGS, 4, 2).missing() == [(2, 4)]
    assert sorted(left.name for left in (disk / '.f.h5.parts').iterdir()) == ['000000000000.npy', 'settings.json']


def test_parts_of_other_settings_are_refused(tmp_path):
    FeatureWriter(tmp_path / 'f.h5', SETTINGS, 10, 4)
    with pytest.raises(ValueError, match=r"weights = 'abc', this run has 'other'.*cannot be mixed"):
        FeatureWriter(tmp_path / 'f.h5', {**SETTINGS, 'weights': 'other'}, 10, 4)
    with pytest.raises(ValueError, match='rows of a part = 4, this run has 5'):
        FeatureWriter(tmp_path / 'f.h5', SETTINGS, 10, 5)


def test_a_finished_file_of_other_settings_is_refused(tmp_path):
    write(tmp_path / 'f.h5')
    with pytest.raises(ValueError, match=r"model = 'one', this run has 'two'"):
        FeatureWriter(tmp_path / 'f.h5', {**SETTINGS, 'model': 'two'}, 10, 4)


def test_features_that_are_not_finite_are_refused(tmp_path):
    writer = FeatureWriter(tmp_path / 'f.h5', SETTINGS, 8, 4)
    with pytest.raises(ValueError, match='row 6 are not finite'):
        writer.write(4, np.array([[0.0], [1.0], [np.nan], [2.0]]))


@pytest.mark.parametrize(
    ('make', 'error', 'message'),
    [
        (lambda path: None, FileNotFoundError, 'does not exist'),
        (lambda path: path.write_bytes(b'not hdf5'), ValueError, 'cannot be read as HDF5'),
        (lambda path: h5py.File(path, 'w').close(), ValueError, 'has no data set `features`'),
    ],
)
def test_what_is_no_feature_file_is_refused(tmp_path, make, error, message):
    make(tmp_path / 'f.h5')
    with pytest.raises(error, match=message):
        read_features(tmp_path / 'f.h5')


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"suffix '.npy', expected one of .h5, .hdf5, .zarr"):
        FeatureWriter(tmp_path / 'f.npy', SETTINGS, 1, 1)


def test_files_of_one_model_are_joined_and_others_refused(tmp_path):
    for name, weights in (('a', 'abc'), ('b', 'abc'), ('c', 'xyz')):
        write(tmp_path / f'{name}.h5', {**SETTINGS, 'weights': weights})
    a, b, c = (read_features(tmp_path / f'{name}.h5') for name in 'abc')
    joined = join_features([a, b])
    assert joined.features.shape == (20, 3)
    assert joined.names.tolist() == a.names.tolist() + b.names.tolist()
    with pytest.raises(ValueError, match='differ in weights'):
        join_features([a, c])
    with pytest.raises(ValueError, match='only some of the feature files'):
        join_features([a, b._replace(coords=None)])
