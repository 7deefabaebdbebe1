"""A share of each of many data sets of patches."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any

from mmengine.logging import print_log

from histomm.datasets.patch_dataset import PatchDataset
from histomm.datasets.patch_sources import Item
from histomm.registry import DATASETS

_RULE = ('fraction', 'min_images', 'max_images', 'include')


def subset_size(count: int, fraction: float, min_images: int, max_images: int | None) -> int:
    """How many of ``count`` images: the share, rounded half up, within the two bounds, and no more than there are."""
    wanted = max(math.floor(count * fraction + 0.5), min_images)
    return min(wanted, count if max_images is None else max_images, count)


def draw_images(names: Sequence[str], size: int, seed: int) -> set[str]:
    """``size`` of ``names``, each subset as likely, by the hash of seed and name alone.

    A smaller subset is part of a larger one, and further names displace no more than they must.
    """
    return set(sorted(names, key=lambda name: blake2b(f'{seed}\0{name}'.encode(), digest_size=16).digest())[:size])


@DATASETS.register_module()
class PatchCollection(PatchDataset):
    """Data sets in one folder each, and of each a share.

    Which images are taken depends on the seed, the name of the data set and the path in it, and on nothing else: other
    data sets beside it, the place on disk and the order in which a disk lists files do not matter. With the same seed
    1% of a data set is part of its 10%.

    Images of ``exclude`` and ``exclude_patients`` are left out before the shares are reckoned. How many images each
    data set gave is logged, and kept in ``drawn_images``, a dict of (drawn, found) by name.

    Args:
        data_root: Folder that holds a folder for each data set (links are followed), or several such folders. Folders
            of one name are one data set. With ``with_labels`` the data set is the label.
        names: Data sets to take, by name or pattern as in :mod:`fnmatch`; all by default.
        fraction: Share of each data set in (0, 1].
        min_images: Take at least so many of each data set, or all that it has.
        max_images: Take at most so many of each data set; None for no bound. 10 in both bounds takes ten of each.
        rules: Other settings for some data sets, by name: any of ``fraction``, ``min_images``, ``max_images`` and
            ``include``, a list of patterns of the paths in the data set to take, such as ``'20x/*'``.
        total: Take at most so many images in all, drawn from those that the shares gave.
        subset_seed: Seed of all this; not that of the run.
        **kwargs: Of :class:`PatchDataset`, but for ``list_file``.

    Raises:
        ValueError: a bad bound or rule, a name or pattern without a data set or image, an image that lies in no data
            set's folder, or what :class:`PatchDataset` raises.
    """

    def __init__(
        self,
        data_root: str | Sequence[str],
        names: Sequence[str] | None = None,
        fraction: float = 1.0,
        min_images: int = 0,
        max_images: int | None = None,
        rules: dict[str, dict] | None = None,
        total: int | None = None,
        subset_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if 'list_file' in kwargs:
            raise ValueError('PatchCollection: list_file is set, expected folders; histomm.PatchDataset reads lists')
        self.names = [names] if isinstance(names, str) else names
        self.rules = {name: dict(rule) for name, rule in (rules or {}).items()}
        self.common = dict(fraction=fraction, min_images=min_images, max_images=max_images)
        self.total, self.subset_seed = total, subset_seed
        for where, rule in (('', self.common), *((f'rules[{name!r}]', rule) for name, rule in self.rules.items())):
            _check_rule(where, self.common | rule)
        if total is not None and total < 1:
            raise ValueError(f'PatchCollection: total is {total}, expected a number of images >= 1, or None')
        self.drawn_images: dict[str, tuple[int, int]] = {}
        super().__init__(data_root=data_root, **kwargs)

    def _chosen(self, items: list[Item]) -> list[Item]:
        """The drawn items, data set by data set in the order of their names."""
        sets: dict[str, dict[str, Item]] = {}
        for item in items:
            name, path = self._place(item[0])
            sets.setdefault(name, {})[path] = item
        self._check_names(sets)
        drawn = {}
        for name in sorted(sets):
            if self.names is None or any(fnmatchcase(name, pattern) for pattern in self.names):
                found = sets[name]
                taken = self._draw(name, list(found))
                drawn |= {f'{name}/{path}': item for path, item in found.items() if path in taken}
                self.drawn_images[name] = (len(taken), len(found))
        if self.total is not None and self.total < len(drawn):
            taken = draw_images(list(drawn), self.total, self.subset_seed)
            drawn = {path: item for path, item in drawn.items() if path in taken}
            counts = Counter(path.partition('/')[0] for path in drawn)
            self.drawn_images = {name: (counts[name], found) for name, (_, found) in self.drawn_images.items()}
        shares = ', '.join(f'{name} {taken} of {found}' for name, (taken, found) in self.drawn_images.items())
        text = f'{len(drawn)} images of {len(self.drawn_images)} data sets: {shares}'
        print_log(f'PatchCollection: {text}', 'current')
        return list(drawn.values())

    def _place(self, path: str) -> tuple[str, str]:
        """Name of the data set that an image lies in, and its path there with forward slashes."""
        root = max((root for root in self.roots if path.startswith(os.path.join(root, ''))), key=len)
        name, slash, inside = os.path.relpath(path, root).replace(os.sep, '/').partition('/')
        if not slash:
            raise ValueError(
                f'PatchCollection: {path} lies in no folder of a data set, expected {root}/NAME/...; move it there'
            )
        return name, inside

    def _check_names(self, sets: dict[str, dict]) -> None:
        for pattern in [*(self.names or ()), *self.rules]:
            if not any(fnmatchcase(name, pattern) for name in sets):
                raise ValueError(
                    f'PatchCollection: found no data set {pattern!r} in {", ".join(self.roots)}, expected one of '
                    f'{", ".join(sorted(sets))}; correct names and rules'
                )

    def _draw(self, name: str, paths: list[str]) -> set[str]:
        """Paths to take of those in data set ``name``."""
        rule = self.common | self.rules.get(name, {})
        patterns = rule.pop('include', None)
        if patterns is not None:
            paths = [path for path in paths if any(fnmatchcase(path, pattern) for pattern in patterns)]
            if not paths:
                raise ValueError(
                    f'PatchCollection: include {patterns} of {name!r} matches none of its images; correct the patterns'
                )
        chosen = draw_images([f'{name}/{path}' for path in paths], subset_size(len(paths), **rule), self.subset_seed)
        return {path.removeprefix(f'{name}/') for path in chosen}


def _check_rule(where: str, rule: dict) -> None:
    unknown = [field for field in rule if field not in _RULE]
    if unknown:
        raise ValueError(f'PatchCollection: {where} has the field {unknown[0]!r}, expected some of {", ".join(_RULE)}')
    fraction, low, high = rule['fraction'], rule['min_images'], rule['max_images']
    if not 0 < fraction <= 1 or low < 0 or (high is not None and high < max(low, 1)):
        raise ValueError(
            f'PatchCollection: {where or "fraction, min_images and max_images"} gives {fraction}, {low} and {high}, '
            'expected a share in (0, 1] and bounds with 0 <= min_images <= max_images'
        )
