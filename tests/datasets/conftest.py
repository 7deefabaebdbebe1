"""Images for the tests of transforms."""

import cv2
import numpy as np
import pytest

from histomm.datasets.transforms import read_image


def draw_tissue(height: int = 224, width: int = 224, seed: int = 0) -> np.ndarray:
    """Pink and violet blobs with grain, white gaps and saturated spots: (height, width, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    density = sum(
        cv2.resize(rng.random((n, n, 2), dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        for n in (5, 23, 97)
    )
    density = np.clip(density - 0.8, 0, None) * 1.6
    stain = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]], np.float32)
    image = np.clip(255 * np.exp(-density @ stain) + rng.normal(0, 3, (height, width, 3)), 0, 255).astype(np.uint8)
    image[:4, :4], image[-5:, -5:], image[30:34, :9] = (255, 0, 0), (0, 0, 255), (0, 200, 40)
    return image


@pytest.fixture(scope='session')
def tissue() -> np.ndarray:
    """A drawn image of 224 × 224 pixels."""
    return draw_tissue()


@pytest.fixture(scope='session', params=['drawn', 'real'])
def tissues(request) -> list[np.ndarray]:
    """A few images of 224 × 224 pixels, drawn and real."""
    if request.param == 'drawn':
        noise = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)
        return [draw_tissue(), draw_tissue(seed=1), noise]
    root = request.getfixturevalue('real_data')
    paths = [*sorted(root.glob('nct_crc/**/*.png')), *sorted(root.glob('tcga_luadlusc/**/*.jpg'))[::40]]
    return [np.ascontiguousarray(read_image(str(path))[:224, :224]) for path in paths]
