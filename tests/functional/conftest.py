"""The forward way of a view, done by torch itself."""

import itertools

import pytest
import torch


@pytest.fixture(scope='session')
def turn():
    """Flip and turn one (..., H, W) image as the augmentation does."""

    def forward(image, hflip, vflip, k):
        if hflip:
            image = image.flip(-1)
        if vflip:
            image = image.flip(-2)
        return torch.rot90(image, int(k), (-2, -1))

    return forward


@pytest.fixture(scope='session')
def all_turns():
    """(hflip (16,), vflip (16,), rot90 (16,)): every combination; each of the eight symmetries comes twice."""
    rows = list(itertools.product((False, True), (False, True), range(4)))
    hflip, vflip, rot90 = zip(*rows, strict=True)
    return torch.tensor(hflip), torch.tensor(vflip), torch.tensor(rot90)


@pytest.fixture(scope='session')
def coordinate_image():
    """(2, H, W) image whose pixels hold their own continuous (x, y) centre."""

    def make(height, width):
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
        return torch.stack((x, y))

    return make
