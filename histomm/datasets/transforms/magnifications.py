"""Two views from a set of pictures at several magnifications (Chhipa et al., "Magnification Prior", WACV 2023)."""

from collections.abc import Callable, Sequence
from itertools import pairwise, permutations

from mmcv.transforms import BaseTransform

from histomm.datasets.transforms.base import view_generator
from histomm.registry import TRANSFORMS

STRATEGIES = ('fixed', 'ordered', 'random')
LAST = ('previous', 'itself', 'never')


def magnification_pairs(
    strategy: str, magnifications: Sequence[float], pair: tuple[float, float] | None = None, last: str = 'previous'
) -> list[tuple[float, float]]:
    """Pairs of a strategy; each entry of the list is as likely, so a pair that stands twice is twice as likely.

    - ``fixed``: the one ``pair``.
    - ``ordered``: the first picture is any of the n, the second is at the next higher magnification; for the highest,
      ``last`` decides: 'previous' pairs it with the one before, which is written in growing order and thus has 2/n of
      all draws; 'itself' with itself, as two views of one picture; 'never' takes the first from the other n − 1.
      At 40, 100, 200 and 400 with 'previous': (40, 100) and (100, 200) have 1/4, (200, 400) has 1/2.
    - ``random``: the n(n − 1) ordered pairs of two different magnifications.

    Args:
        strategy: One of :data:`STRATEGIES`.
        magnifications: Those of the set.
        pair: Of ``fixed``.
        last: One of :data:`LAST`, for ``ordered``.

    Raises:
        ValueError: ``pair`` is not among the magnifications.
    """
    numbers = sorted(magnifications)
    if strategy == 'random':
        return list(permutations(numbers, 2))
    if strategy == 'ordered':
        end = {'previous': [tuple(numbers[-2:])], 'itself': [(numbers[-1], numbers[-1])], 'never': []}[last]
        return [*pairwise(numbers), *end]
    if pair is None or not set(pair) <= set(numbers):
        raise ValueError(
            f'MagnificationPairSampler: pair is {pair}, expected two of the magnifications {tuple(numbers)} of the '
            'set; correct pair, or magnifications of the data set'
        )
    return [tuple(pair)]


@TRANSFORMS.register_module()
class MagnificationPairSampler(BaseTransform):
    """Draw two of a set's magnifications by (seed, epoch, sample).

    **Required keys:** img_paths (magnification to file)

    **Added keys:** pair (two magnifications, those of view 1 and view 2)

    Args:
        strategy: 'fixed', 'ordered' or 'random', see :func:`magnification_pairs`.
        pair: Of 'fixed'.
        last: What 'ordered' pairs the highest magnification with: 'previous', 'itself' or 'never'.

    Raises:
        ValueError: a bad argument, or a pair that the sets do not have.
    """

    def __init__(
        self, strategy: str = 'ordered', pair: tuple[float, float] = (200, 400), last: str = 'previous'
    ) -> None:
        if strategy not in STRATEGIES or last not in LAST:
            raise ValueError(
                f'MagnificationPairSampler: strategy is {strategy!r} and last {last!r}, expected one of {STRATEGIES} '
                f'and one of {LAST}'
            )
        if len(pair) != 2:
            raise ValueError(f'MagnificationPairSampler: pair is {pair}, expected two magnifications')
        self.strategy, self.pair, self.last = strategy, tuple(pair), last

    def transform(self, results: dict) -> dict:
        """Draw ``results['pair']``."""
        pairs = magnification_pairs(self.strategy, tuple(results['img_paths']), self.pair, self.last)
        results['pair'] = pairs[int(view_generator(results).integers(len(pairs)))]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(strategy={self.strategy!r}, pair={self.pair}, last={self.last!r})'


@TRANSFORMS.register_module()
class MagnificationViews(BaseTransform):
    """Run one pipeline on both pictures of a pair, with the same draws for both or with draws of their own.

    With ``sync`` both pictures are given generators in the same state, so that flips, angles, shifts and colours are
    the same: what differs is the magnification alone. This holds for histomm's transforms, and for those of other
    packages inside ``SeedGlobalRandom``. Draws that depend on the size of a picture, those of ``RandomResizedCrop``
    and ``RandomCrop``, are the same for pictures of the same size.

    **Required keys:** img_paths, pair

    **Added keys:** views (results of the two pipelines; ``img_path`` is the file and ``magnification`` its
    magnification there)

    A data set that reads pixels itself, such as ``SlideMagnificationDataset``, gives ``read_picture``, a function from
    a magnification to its pixels; ``LoadPatch`` leaves these as they are.

    Args:
        pipeline: Transforms of each picture, beginning with ``LoadPatch``.
        sync: One draw for both views. False draws for each, as the authors' code does.

    Raises:
        ValueError: the pipeline is empty.
    """

    def __init__(self, pipeline: Sequence[dict | Callable], sync: bool = True) -> None:
        if not pipeline:
            raise ValueError('MagnificationViews: pipeline is empty, expected transforms beginning with LoadPatch')
        self.pipeline = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        self.sync = sync

    def transform(self, results: dict) -> dict | None:
        """Make both views; None if a transform gives one up."""
        own = ('rng', 'views', 'img_paths', 'pair', 'read_picture')
        shared = {key: value for key, value in results.items() if key not in own}
        results['views'] = []
        for number, magnification in enumerate(results['pair'], start=1):
            path = results['img_paths'][magnification]
            view = dict(shared, img_path=path, magnification=magnification, view=1 if self.sync else number)
            if 'read_picture' in results:
                view['img'] = results['read_picture'](magnification)
            for step in self.pipeline:
                view = step(view)
                if view is None:
                    return None
            results['views'].append(view)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(pipeline={self.pipeline}, sync={self.sync})'
