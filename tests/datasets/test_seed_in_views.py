"""Transforms of other packages inside views: each view draws for itself."""

import numpy as np

from histomm.datasets import SampleIndex
from histomm.datasets.transforms import MultiView


def colours(epoch: int) -> list[np.ndarray]:
    jitter = dict(type='mmpretrain.ColorJitter', brightness=0.5, contrast=0.5, saturation=0.5)
    view = [dict(type='histomm.SeedGlobalRandom', transforms=[jitter])]
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    results = MultiView([dict(pipeline=view, num=2)])(dict(img=image, sample_idx=SampleIndex(3, seed=1, epoch=epoch)))
    return [view['img'] for view in results['views']]


def test_views_differ_and_repeat():
    first, again, other = colours(0), colours(0), colours(1)
    assert not np.array_equal(*first)
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
