"""Interpolated positions against the cubic kernel written out."""

import math

import pytest
import torch

from histomm.functional import interpolate_positions


def kernel(distance):
    """Keys' cubic with a = −3/4, which torch has."""
    a, d = -0.75, abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def naive(positions, source, target, offset):
    (h, w), (height, width) = source, target
    found = torch.zeros(height * width, positions.shape[-1], dtype=positions.dtype)
    for row in range(height):
        y = (row + 0.5) * h / (height + offset) - 0.5
        for column in range(width):
            x = (column + 0.5) * w / (width + offset) - 0.5
            for i in range(math.floor(y) - 1, math.floor(y) + 3):
                for j in range(math.floor(x) - 1, math.floor(x) + 3):
                    cell = min(max(i, 0), h - 1) * w + min(max(j, 0), w - 1)
                    found[row * width + column] += kernel(y - i) * kernel(x - j) * positions[cell]
    return found


@pytest.mark.parametrize('offset', [0.0, 0.1])
@pytest.mark.parametrize(
    ('source', 'target'), [((4, 4), (6, 6)), ((4, 4), (2, 3)), ((3, 5), (4, 4)), ((14, 14), (16, 16)), ((2, 2), (1, 1))]
)
def test_values_are_those_of_the_kernel(source, target, offset):
    positions = torch.randn(source[0] * source[1], 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = interpolate_positions(positions[None], source, target, offset)
    assert found.shape == (1, target[0] * target[1], 3)
    torch.testing.assert_close(found[0], naive(positions, source, target, offset), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize('side', range(1, 65))
def test_no_row_is_lost(side):
    for source in (7, 14, 16):
        found = interpolate_positions(torch.ones(1, source**2, 1), (source, source), (side, 2 * side), 0.1)
        assert found.shape == (1, 2 * side**2, 1)


def test_equal_sizes_are_left_alone():
    positions = torch.randn(1, 12, 2)
    assert interpolate_positions(positions, (3, 4), (3, 4), 0.1) is positions


def test_half_precision_stays():
    positions = torch.randn(1, 4, 2).bfloat16()
    assert interpolate_positions(positions, (2, 2), (3, 3)).dtype == torch.bfloat16


@pytest.mark.parametrize(('count', 'offset'), [(5, 0.1), (4, 1.0), (4, -0.1)])
def test_wrong_arguments_are_named(count, offset):
    with pytest.raises(ValueError, match=rf'\(1, {count}, 2\) and the offset is {offset}, expected .* 2\*2'):
        interpolate_positions(torch.zeros(1, count, 2), (2, 2), (3, 3), offset)
