"""The symmetries of a square by rows and columns."""

import numpy as np
import pytest
import torch

from histomm.functional.symmetries import SYMMETRIES, dihedral, undo_dihedral

BY_HAND = {
    0: [[0, 1, 2], [3, 4, 5]],
    1: [[2, 5], [1, 4], [0, 3]],
    2: [[5, 4, 3], [2, 1, 0]],
    3: [[3, 0], [4, 1], [5, 2]],
    4: [[0, 3], [1, 4], [2, 5]],
    5: [[3, 4, 5], [0, 1, 2]],
    6: [[5, 2], [4, 1], [3, 0]],
    7: [[2, 1, 0], [5, 4, 3]],
}


@pytest.mark.parametrize('index', range(SYMMETRIES))
def test_turns_and_flips_by_hand_and_back(index):
    maps = torch.arange(6.0).view(1, 1, 2, 3).repeat(2, 1, 1, 1)
    maps[1] += 10
    turned = dihedral(maps, index)
    assert turned[0, 0].tolist() == BY_HAND[index]
    assert np.array_equal(turned[1, 0], np.array(BY_HAND[index]) + 10)
    assert torch.equal(undo_dihedral(turned, index), maps)


@pytest.mark.parametrize('change', [dihedral, undo_dihedral])
@pytest.mark.parametrize('index', [-1, 8])
def test_another_number_is_refused(change, index):
    with pytest.raises(ValueError, match=f'the symmetry is {index}, expected 0 to 7'):
        change(torch.zeros(2, 2), index)
