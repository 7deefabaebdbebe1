"""Regions of BCSS: patches beside loops over pixels, the split by institute, and files that cannot be converted."""

import numpy as np
import pytest
from PIL import Image

from histomm.datasets.bcss import TEST_INSTITUTES
from histomm.datasets.bcss_regions import Region, cut, find_regions, read_region, split_participants
from histomm.datasets.label_maps import ConversionError

NAME = 'TCGA-A1-A0SK-DX1_xmin45749_ymin25055_MPP-0.2500'


def region(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), rng.integers(
        1, 22, (height, width), dtype=np.uint8
    )


@pytest.mark.parametrize('shape', [(32, 48), (33, 50), (7, 5), (16, 17)])
def test_every_pixel_is_in_one_patch(shape):
    image, mask = region(*shape)
    whole = np.zeros((48, 64), np.uint8), np.full((48, 64, 3), 255, np.uint8)
    whole[0][: shape[0], : shape[1]], whole[1][: shape[0], : shape[1]] = mask, image
    count = 0
    for patch in cut(image, mask, 16, 1):
        place = np.s_[patch.y : patch.y + 16, patch.x : patch.x + 16]
        np.testing.assert_array_equal(patch.mask, whole[0][place])
        np.testing.assert_array_equal(patch.image, whole[1][place])
        assert patch.filled_up == (patch.y + 16 > shape[0] or patch.x + 16 > shape[1])
        count += 1
    assert count == -(-shape[0] // 16) * -(-shape[1] // 16)


@pytest.mark.parametrize('factor', [2, 3, 4])
def test_reduction_equals_loops_over_pixels(factor):
    side = 4 * factor
    image, mask = region(side, side)
    (patch,) = cut(image, mask, side, factor)
    for i in range(4):
        for j in range(4):
            block = np.s_[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
            np.testing.assert_allclose(patch.image[i, j], image[block].reshape(-1, 3).mean(0), atol=0.51)
            # The pixel in whose square the centre of the block lies; on an edge, the one that begins there.
            assert patch.mask[i, j] == mask[block][factor // 2, factor // 2]
    pillow = Image.fromarray(mask).resize((4, 4), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(patch.mask, np.asarray(pillow))


def test_odd_regions_are_not_stretched():
    """A line at x = 40 of a region of 61 pixels stands at 20 of the reduced patch, as in a region of 64."""
    for width in (61, 64):
        mask = np.ones((33, width), np.uint8)
        mask[:, 40:] = 2
        image = np.repeat((mask * 100)[..., None], 3, axis=2)
        first, *_ = cut(image, mask, 64, 2)
        assert first.mask[0, :21].tolist() == [1] * 20 + [2]
        assert first.image[0, :21, 0].tolist() == [100] * 20 + [200]


def test_what_the_fill_reaches_into_is_not_annotated():
    image, mask = region(5, 5)
    (patch,) = cut(image, mask, 8, 2)
    assert (patch.mask[:2, :2] == mask[1:4:2, 1:4:2]).all()
    assert patch.mask[2:].max() == patch.mask[:, 2:].max() == 0
    assert (patch.image[3:] == 255).all()


# ---- split


def participants(**counts):
    """Regions of so many participants of each institute, two of each participant."""
    names = [f'TCGA-{site}-{number:04d}' for site, count in counts.items() for number in range(count)]
    return [Region(f'{name}-{k}', None, None, name) for name in names for k in range(2)]


def test_institutes_of_the_baseline_are_the_test_set():
    regions = participants(OL=2, LL=1, E2=3, EW=1, GM=1, S3=1, A1=10, BH=10)
    splits = split_participants(regions, 0.1, 0)
    assert len(splits) == 29
    test = {name for name, split in splits.items() if split == 'test'}
    assert {name.split('-')[1] for name in test} == set(TEST_INSTITUTES)
    assert len(test) == 9
    assert sum(split == 'val' for split in splits.values()) == 2, 'a tenth of the other twenty'


def test_val_depends_on_the_seed_and_on_nothing_else():
    regions = participants(A1=15, BH=15)
    drawn = [split_participants(regions, 0.1, seed) for seed in range(5)]
    assert split_participants(regions[::-1], 0.1, 3) == drawn[3]
    assert len({tuple(splits.items()) for splits in drawn}) > 1


@pytest.mark.parametrize(('share', 'val'), [(0.01, 1), (0.5, 2), (0.99, 2)])
def test_val_and_train_have_one_participant_at_least(share, val):
    splits = list(split_participants(participants(A1=3), share, 0).values())
    assert splits.count('val') == val
    assert splits.count('train') == 3 - val


def test_a_set_without_train_is_refused(capsys):
    with pytest.raises(ConversionError, match=r'1 participants are of other institutes .* expected 2 or more'):
        split_participants(participants(OL=4, A1=1), 0.1, 0)
    split_participants(participants(A1=3), 0.1, 0)
    assert 'there is no test set' in capsys.readouterr().out


# ---- files


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    image, mask = region(20, 30)
    save(tmp_path / 'images' / f'{NAME}.png', image)
    save(tmp_path / 'masks' / f'{NAME}.png', mask)
    return tmp_path


def find(folder):
    return find_regions(folder / 'images', folder / 'masks')


def test_a_region_is_told_from_its_name(folder):
    (found,) = find(folder)
    assert found.name == 'TCGA-A1-A0SK-DX1_xmin45749_ymin25055'
    assert (found.participant, found.institute) == ('TCGA-A1-A0SK', 'A1')
    image, mask = read_region(found)
    expected = region(20, 30)
    assert np.array_equal(image, expected[0])
    assert np.array_equal(mask, expected[1])
    assert mask.dtype == np.uint8


def test_other_files_are_told_and_hidden_ones_are_not(folder, capsys):
    (folder / 'images' / 'notes.txt').touch()
    (folder / 'images' / '.DS_Store').touch()
    assert len(find(folder)) == 1
    assert 'holds 1 files other than png, such as notes.txt' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('TCGA-A1-A0SK-DX1_xmin1_ymin2_MPP-0.5000', r'ends in _MPP-0\.2500: other resolutions are not resampled'),
        ('TCGA-A1-A0SK-DX1_xmin1_ymin2', r'ends in _MPP-0\.2500'),
        ('region_1_MPP-0.2500', 'has no TCGA barcode in its name'),
        (NAME.replace('0.2500', '0.25'), 'holds a region twice'),
    ],
)
def test_wrong_names_are_refused(folder, name, message):
    for kind, pixels in zip(('images', 'masks'), region(4, 4), strict=True):
        save(folder / kind / f'{name}.png', pixels)
    with pytest.raises(ConversionError, match=message):
        find(folder)


@pytest.mark.parametrize(('kind', 'other'), [('images', 'masks'), ('masks', 'images')])
def test_files_without_counterpart_are_named(folder, kind, other):
    save(folder / kind / 'TCGA-A1-A0SB-DX1_xmin1_ymin2_MPP-0.2500.png', region(4, 4)[0])
    with pytest.raises(ConversionError, match=rf'1 files such as .*A0SB.* have no counterpart in .*{other}'):
        find(folder)


def test_missing_folders_are_named(folder):
    (folder / 'images').rename(folder / 'rgbs')
    with pytest.raises(ConversionError, match=r'images is not a folder; .* holds masks, rgbs; .*--images'):
        find(folder)
    (folder / 'images').mkdir()
    with pytest.raises(ConversionError, match='holds no png'):
        find(folder)


def test_wrong_masks_are_refused(folder):
    path = folder / 'masks' / f'{NAME}.png'
    save(path, region(20, 29)[1])
    with pytest.raises(ConversionError, match=r'masks.* is 29x20, its image .* is 30x20'):
        read_region(find(folder)[0])
    mask = region(20, 30)[1]
    mask[3, 4:6] = 22, 40
    save(path, mask)
    with pytest.raises(ConversionError, match=r'masks.* holds the codes 22, 40, expected 0 to 21'):
        read_region(find(folder)[0])
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ConversionError, match=r'label map .*MPP-0.2500.png cannot be read'):
        read_region(find(folder)[0])
    image = folder / 'images' / f'{NAME}.png'
    image.write_bytes(image.read_bytes()[:60])
    with pytest.raises(ConversionError, match=r'image .*MPP-0.2500.png: cannot be read'):
        read_region(find(folder)[0])
