"""Figures over shares: what is drawn is what was measured and published."""

import numpy as np
import pytest

from histomm.visualization.series import Series, draw_series

ONE = Series([(5, 50.0, 2.0), (20, 70.0, 1.0), (100, 90.0, 0.5)], [(5, 51.25), (100, 90.55)])


def test_lines_bands_and_dashes():
    figure = draw_series(
        {'fixed': ONE, 'none': Series([], []), 'random': Series([], [(10, 62.5)])}, 'share', 'accuracy'
    )
    (axes,) = figure.axes
    printed, ours, other = axes.lines
    np.testing.assert_array_equal(printed.get_xydata(), ONE.published)
    np.testing.assert_array_equal(ours.get_xydata(), [point[:2] for point in ONE.ours])
    np.testing.assert_array_equal(other.get_xydata(), [(10, 62.5)])
    assert printed.is_dashed()
    assert not ours.is_dashed()
    assert printed.get_color() == ours.get_color() != other.get_color()
    (band,) = axes.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert corners == {(5, 48), (5, 52), (20, 69), (20, 71), (100, 89.5), (100, 90.5)}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ['fixed', 'random', 'ours ± sd', 'published']
    assert axes.get_xticks().tolist() == [5, 10, 20, 100]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ('share', 'accuracy', 'linear')


def test_wide_ranges_are_logarithmic_and_close_ticks_left_out():
    wide = draw_series({'a': Series([], [(0.01, 1), (0.1, 2), (10, 3)])}, 'x', 'y').axes[0]
    assert wide.get_xscale() == 'log'
    close = draw_series({'a': Series([], [(0, 1), (1, 2), (2, 2), (5, 2), (100, 3)])}, 'x', 'y').axes[0]
    assert close.get_xticks().tolist() == [0, 5, 100]


def test_one_place_has_an_error_bar():
    figure = draw_series({'a': Series([(5, 50.0, 3.0)], [])}, 'x', 'y')
    (bar,) = [lines for lines in figure.axes[0].collections if hasattr(lines, 'get_segments')]
    assert bar.get_segments()[0].tolist() == [[5, 47], [5, 53]]


def test_nothing_to_draw():
    with pytest.raises(ValueError, match='series has no figures'):
        draw_series({'a': Series([], [])}, 'x', 'y')
