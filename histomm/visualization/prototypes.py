"""Prototypes of slides as a checkpoint of SLPD has them, numbered so that like ones have one number on all slides."""

from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor


class SlidePrototypes(NamedTuple):
    """Prototypes of the slides that have some, M each."""

    labels: np.ndarray
    """(N,) int64, number of the prototype of each region among those of its slide, −1 for none."""
    cosine: dict[int, float]
    """By slide how like its prototypes are to those of the first slide, of the same number; a mean from −1 to 1."""


def slide_prototypes(rows: Tensor, own: Tensor, slides: np.ndarray, number: int) -> SlidePrototypes:
    """Which prototype each region follows, in an order that is the same on all slides.

    The first slide with prototypes has them in the order of the checkpoint. Of each other slide that order is taken in
    which they are most alike to those of the first: the permutation with the largest mean cosine.

    Args:
        rows: (T, C), at first the prototypes of slide 0, then those of slide 1, and so on.
        own: (N,) row of each region's prototype, −1 for none.
        slides: (N,) number of the slide of each region.
        number: M, prototypes of a slide.

    Raises:
        ValueError: there are no prototypes, other regions than the prototypes are of, or not M of each slide.
    """
    if not len(rows):
        raise ValueError('the checkpoint has no prototypes; they are there after the epoch that its config names')
    if len(own) != len(slides):
        raise ValueError(f'the prototypes are of {len(own)} regions, the data set has {len(slides)}; give its own one')
    own = own.cpu().numpy()
    labels = np.where(own >= 0, own - slides * number, -1)
    total = number * (int(slides.max()) + 1)  # rows of regions may come after them
    if len(rows) not in (total, total + len(own)) or not ((labels >= 0) & (labels < number) | (own < 0)).all():
        raise ValueError(
            f'the prototypes are not {number} of each slide: the run had another num_prototypes than this config, or '
            "clustered all slides together, as with scope='global', of which there is no picture"
        )
    with_some = np.unique(slides[own >= 0]).tolist()
    unit = F.normalize(rows.float(), dim=1).cpu()
    first = unit[with_some[0] * number : (with_some[0] + 1) * number]
    cosine = {}
    for slide in with_some:
        similar = (unit[slide * number : (slide + 1) * number] @ first.T).numpy()
        places, numbers = linear_sum_assignment(similar, maximize=True)
        cosine[slide] = float(similar[places, numbers].mean())
        members = (slides == slide) & (own >= 0)
        labels[members] = numbers[labels[members]]
    return SlidePrototypes(labels, cosine)


def read_prototypes(state: dict[str, Tensor], path: str) -> tuple[Tensor, Tensor]:
    """Rows (T, C) and the row of each region (N,) out of a checkpoint of SLPD.

    Raises:
        ValueError: it is none.
    """
    if 'bank.rows' not in state or 'bank.own' not in state:
        raise ValueError(f'{path} has no bank of prototypes; give a checkpoint of histomm.SLPD')
    return state['bank.rows'], state['bank.own']
