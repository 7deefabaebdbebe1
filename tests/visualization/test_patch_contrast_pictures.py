"""Pictures of patch contrast show what was recorded."""

import numpy as np
import pytest
from PIL import Image

from histomm.visualization.colors import rgb
from histomm.visualization.patch_contrast import (
    ERRORS,
    NEGATIVE,
    POSITIVE,
    draw_error_figure,
    draw_errors,
    draw_maps,
    draw_spread,
    read_records,
    spread_evenly,
    write_animation,
)


@pytest.fixture
def work_dir(tmp_path):
    """Two classes on 30 × 40 pixels, windows of 10 every 10: 3 rows of 4."""
    folder = tmp_path / 'confidence'
    folder.mkdir()
    Image.fromarray(np.full((30, 40, 3), 200, np.uint8)).save(folder / 'image.png')
    for epoch in (0, 5, 10):
        np.savez_compressed(
            folder / f'epoch_{epoch:04d}.npz',
            confidence=np.full((2, 30, 40), 25 * epoch, np.uint8),
            mean=np.tile(np.linspace(0, 1, 12), (2, 1)),
            entropy=np.full((2, 12), 0.5),
            index=np.array([[0, 5, 5], [11, 11, 11]]),
            positive=np.array([[True, False, False], [True, True, True]]),
            size=np.array(10),
            stride=np.array(10),
        )
    return tmp_path


def test_records_come_back(work_dir):
    image, records = read_records(work_dir)
    assert image.shape == (30, 40, 3)
    assert [record.epoch for record in records] == [0, 5, 10]
    assert records[1].confidence[0, 0, 0] == pytest.approx(125 / 255)
    assert [records[0].corner(window) for window in (0, 3, 4, 11)] == [(0, 0), (30, 0), (0, 10), (30, 20)]
    assert [record.epoch for record in spread_evenly(records, 2)] == [0, 10]
    assert spread_evenly(records, 9) == records


def test_patches_lie_where_they_were_drawn(work_dir):
    figure = draw_maps(*read_records(work_dir))
    maps = figure.axes[:8]
    assert [axes.get_title('left') for axes in maps[:4]] == ['image', 'epoch 0', 'epoch 5', 'epoch 10']
    boxes = [(box.get_xy(), box.get_edgecolor()) for box in maps[1].patches if box.get_linewidth() < 2]
    colors = [tuple(round(255 * part) for part in color[:3]) for _, color in boxes]
    assert [corner for corner, _ in boxes] == [(0, 0), (10, 10)]
    assert colors == [rgb(POSITIVE), rgb(NEGATIVE)]
    assert maps[5].patches[0].get_xy() == (30, 20)


def test_spread_has_the_median_of_all_windows(work_dir):
    confidence, entropy = draw_spread(read_records(work_dir)[1]).axes
    for line in confidence.lines:
        np.testing.assert_allclose(line.get_xydata(), [(0, 0.5), (5, 0.5), (10, 0.5)])
    assert len(confidence.lines) == len(entropy.lines) == 2


def test_errors_have_the_colours_of_the_legend():
    image = np.zeros((2, 2, 3), np.uint8)
    painted = draw_errors(image, np.array([[1, 1], [0, 0]]), np.array([[2, 0], [3, 0]]))
    for name, place in (('found', (0, 0)), ('too much', (0, 1)), ('missed', (1, 0))):
        np.testing.assert_allclose(painted[place], 0.75 * np.array(rgb(ERRORS[name])), atol=0.5)
    assert len(set(painted[1, 1].tolist())) == 1
    figure = draw_error_figure(image, np.array([[1, 1], [0, 0]]), np.array([[2, 0], [3, 0]]))
    assert figure.axes[1].get_title('left') == 'Dice 0.500'
    with pytest.raises(ValueError, match='expected the same'):
        draw_errors(image, np.zeros((2, 2)), np.zeros((3, 2)))


def test_animation_has_a_frame_an_epoch(work_dir):
    image, records = read_records(work_dir)
    path = work_dir / 'animation.png'
    write_animation(path, image, records, channel=1)
    seen = []
    with Image.open(path) as moving:
        assert moving.n_frames == 3
        for frame in range(3):
            moving.seek(frame)
            seen.append(int(np.array(moving.convert('RGB'))[10, 60, 0]))
    assert seen == [250, 0, 125]


def test_no_records_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match='found no records'):
        read_records(tmp_path)
