"""Drawn bags: feature files, the table of their slides, folds, and times."""

from pathlib import Path

import h5py
import numpy as np

CLASSES = {'nsclc': ('LUAD', 'LUSC'), 'brca': ('IDC', 'ILC')}


def draw_bags(
    root: Path, num: int = 12, dim: int = 192, classes: tuple[str, str] = CLASSES['nsclc'], seed: int = 0
) -> Path:
    """Slides of two classes whose bags hold two kinds of instances in different shares, 3 to 7 in a bag.

    Slide i is ``TCGA-05-Z00i-01Z-00-DX1`` of class i mod 2, alone of its patient; ``slides.csv``, ``survival.csv``
    where class 1 dies earlier, ``region_features`` and one fold ``splits/splits_0.csv`` in thirds.
    """
    rng = np.random.default_rng(seed)
    kinds = rng.normal(size=(2, dim))
    names = [f'TCGA-05-Z{i:03d}-01Z-00-DX1' for i in range(num)]
    labels, times = ['slide,patient,label'], ['slide,patient,time,event']
    for number, name in enumerate(names):
        label, size = number % 2, 3 + number % 5
        kind = (rng.random(size) < (0.3, 0.7)[label]).astype(int)
        features = (kinds[kind] + 0.3 * rng.normal(size=(size, dim))).astype(np.float32)
        coords = np.stack((np.arange(size), np.zeros(size, int)), axis=1) * 4096
        write_bag(root / 'region_features' / f'{name}.h5', features, coords)
        labels.append(f'{name}.svs,{name[:12]},{classes[label]}')
        times.append(f'{name}.svs,{name[:12]},{(30, 10)[label] + number},{int(number % 4 != 3)}')
    (root / 'slides.csv').write_text('\n'.join([*labels, '']))
    (root / 'survival.csv').write_text('\n'.join([*times, '']))
    third = num // 3
    rows = [f'{i},{names[i]},{names[third + i]},{names[2 * third + i]}' for i in range(third)]
    for folder in ('splits', 'survival_splits'):
        (root / folder).mkdir()
        (root / folder / 'splits_0.csv').write_text('\n'.join([',train,val,test', *rows, '']))
    return root


def write_bag(path: Path, features: np.ndarray, coords: np.ndarray | None = None, key: str = 'features') -> Path:
    """A feature file of one slide, with as little in it as there may be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, 'w') as file:
        file[key] = features
        if coords is not None:
            file['coords'] = coords
    return path
