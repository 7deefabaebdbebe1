"""Label maps in MATLAB files; those in images are tested with the rest of the way to COCO."""

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from histomm.datasets.label_maps import ConversionError, read_label_map

LABELS = np.arange(12).reshape(3, 4) * 30
POINTS = {'centroid': np.zeros((1, 2)), 'type': np.array(['gland']), 'cell': {'a': 1}}


@pytest.fixture
def saved(tmp_path):
    def save(content, **options):
        scipy.io.savemat(tmp_path / 'm.mat', content, **options)
        return tmp_path / 'm.mat'

    return save


@pytest.mark.parametrize('dtype', ['u1', 'i2', 'u2', 'i4', 'f4', 'f8', 'u8'])
@pytest.mark.parametrize('compressed', [True, False])
def test_whole_numbers_of_any_type(dtype, compressed, saved):
    labels = np.minimum(LABELS, 255).astype(dtype)
    found = read_label_map(saved({'inst_map': labels}, do_compression=compressed))
    assert found.dtype == np.int32
    assert (found == labels).all()


def test_large_ids_survive(saved):
    assert read_label_map(saved({'inst_map': np.full((2, 2), 70_001.0)})).max() == 70_001


def test_the_map_is_found_by_name_or_because_it_is_alone(saved):
    assert (read_label_map(saved({'inst_map': LABELS, 'type_map': LABELS // 90, **POINTS})) == LABELS).all()
    assert (read_label_map(saved({'whatever': LABELS, **POINTS})) == LABELS).all()


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        ({'a': LABELS, 'type_map': LABELS}, 'a (3, 4), type_map (3, 4)'),
        ({'rgb': np.zeros((3, 4, 3)), 'n': 5.0}, 'rgb (3, 4, 3), n (1, 1)'),
        ({'s': scipy.sparse.csc_matrix(LABELS.astype(float))}, 's (3, 4)'),
        ({}, 'nothing'),
    ],
)
def test_other_files_are_refused_with_what_they_hold(content, found, saved):
    with pytest.raises(ConversionError) as error:
        read_label_map(saved(content))
    assert f'm.mat holds {found}, expected one two-dimensional array' in str(error.value)


@pytest.mark.parametrize(
    ('value', 'shown'), [(1.5, '1.5'), (-1.0, '-1'), (np.nan, 'nan'), (np.inf, 'inf'), (3e9, '3e+09')]
)
def test_numbers_that_are_no_ids_are_named(value, shown, saved):
    labels = LABELS.astype(float)
    labels[1, 1] = value
    with pytest.raises(ConversionError) as error:
        read_label_map(saved({'inst_map': labels}))
    assert f'holds the value {shown}, expected whole numbers' in str(error.value)


def test_bad_files_are_named(saved, tmp_path):
    with pytest.raises(ConversionError, match=r'gone\.mat is missing'):
        read_label_map(tmp_path / 'gone.mat')
    path = saved({'inst_map': LABELS.astype(np.uint8)}, do_compression=True)
    whole = path.read_bytes()
    for content in (b'', b'no matlab file' * 20, whole[:100], whole[:150], whole[:-5]):
        path.write_bytes(content)
        with pytest.raises(ConversionError, match=r'm\.mat cannot be read .*complete MATLAB file'):
            read_label_map(path)


def test_version_7_3_is_said(tmp_path):
    # The header of version 7.3: a text, then version 0x0200 and the mark of the byte order; HDF5 follows at 512.
    path = tmp_path / 'm.mat'
    path.write_bytes(b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM' + b'\x00' * 384 + b'\x89HDF\r\n\x1a\n')
    with pytest.raises(ConversionError, match=r'm\.mat is a MATLAB file of version 7\.3, .* save it again with -v7'):
        read_label_map(path)


def test_a_name_that_is_asked_for_is_the_only_one_taken(saved):
    path = saved({'type_map': LABELS, 'inst_map': LABELS * 2})
    np.testing.assert_array_equal(read_label_map(path, 'type_map'), LABELS)
    np.testing.assert_array_equal(read_label_map(path), LABELS * 2)
    alone = saved({'type_map': LABELS})
    np.testing.assert_array_equal(read_label_map(alone), LABELS)
    with pytest.raises(ConversionError, match=r'holds type_map .*, expected a two-dimensional array .* named inst_map'):
        read_label_map(alone, 'inst_map')
