"""Survival: the Cox partial likelihood, and the likelihood of discrete times.

Shapes: N patients; K intervals of time. ``event`` is 1 where the event was seen at ``time``, 0 where the patient was
last seen then without it (censored).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

TIES = ('efron', 'breslow')


def cox_loss(risk: Tensor, time: Tensor, event: Tensor, ties: str = 'efron') -> Tensor:
    """Negative log partial likelihood of Cox's model, over the number of events.

    With R(t) those of time ≥ t, and D(t) the d with an event at t, each event i at t, the l-th of its d (l = 0, 1, …),
    contributes log(Σ_{R(t)} e^r − s · Σ_{D(t)} e^r) − r_i, where s is l/d (Efron 1977) or 0 (Breslow 1974). The two
    are the same where no events have equal times.

    Args:
        risk: (N,) r, the logarithm of the hazard up to a constant.
        time: (N,) in any unit.
        event: (N,) 0 or 1.
        ties: One of :data:`TIES`.

    Returns:
        Scalar; a zero connected to the graph without events.

    Raises:
        ValueError: another shape, or unknown ``ties``.
    """
    if ties not in TIES:
        raise ValueError(f'ties is {ties!r}, expected one of {TIES}')
    if risk.ndim != 1 or not risk.shape == time.shape == event.shape:
        shapes = ', '.join(str(tuple(part.shape)) for part in (risk, time, event))
        raise ValueError(f'risk, time and event have the shapes {shapes}, expected (N,) for all')
    seen = event.bool()
    count = int(seen.sum())
    if not count:
        return 0 * risk.sum()
    alive = time[None] >= time[seen, None]  # (events, N)
    # less the highest risk of each set: no overflow, and no set that vanishes beside one of higher risks
    highest = risk.detach().masked_fill(~alive, -torch.inf).amax(1, keepdim=True)
    hazard = (risk - highest).masked_fill(~alive, -torch.inf).exp()
    total = hazard.sum(1)
    if ties == 'efron':
        tied = (time[None] == time[seen, None]) & seen
        earlier = tied[:, seen].tril(-1).sum(1)
        total = total - earlier / tied.sum(1) * (hazard * tied).sum(1)
    return (total.log() + highest[:, 0] - risk[seen]).sum() / count


def time_bins(time: Tensor, event: Tensor, bins: int) -> Tensor:
    """Borders between intervals of time that hold equal shares of the events.

    Args:
        time: (N,).
        event: (N,) 0 or 1; censored times do not count.
        bins: K ≥ 2.

    Returns:
        (K − 1,) quantiles of the times of the events, growing; interval k is from border k − 1 up to, but without,
        border k, the last one has no end.

    Raises:
        ValueError: fewer than 2 intervals, or too few different times of events to tell them apart.
    """
    if bins < 2:
        raise ValueError(f'bins is {bins}, expected 2 or more intervals')
    seen = time[event.bool()].double()
    if len(seen) < bins:
        raise ValueError(f'{len(seen)} events cannot be put into {bins} intervals; take fewer, or more patients')
    borders = seen.quantile(torch.arange(1, bins, dtype=torch.float64, device=seen.device) / bins)
    if not bool((borders.diff() > 0).all()):
        raise ValueError(
            f'the times of the events give the borders {borders.tolist()}, of which some are equal; take fewer '
            f'intervals than {bins}'
        )
    return borders


def discretise(time: Tensor, borders: Tensor) -> Tensor:
    """Number (N,) int64 of the interval of each time (N,), see :func:`time_bins`."""
    return torch.bucketize(time.double(), borders.double(), right=True)


def survival_curve(logits: Tensor) -> Tensor:
    """S_k = Π_{j ≤ k} (1 − σ(logit_j)): chance (N, K) to pass each interval without the event."""
    return F.logsigmoid(-logits).cumsum(1).exp()


def discrete_time_loss(logits: Tensor, interval: Tensor, event: Tensor) -> Tensor:
    """Mean negative log-likelihood of discrete times (Singer and Willett 1993; Zadeh and Schmid 2020).

    The hazards h_k = σ(logit_k) are those of the event in interval k for whom it did not befall before. An event in
    interval y has the likelihood h_y · Π_{j<y} (1 − h_j); a patient censored in y has Π_{j≤y} (1 − h_j).

    Args:
        logits: (N, K).
        interval: (N,) int64, y in [0, K).
        event: (N,) 0 or 1.

    Returns:
        Scalar; a zero connected to the graph if N = 0.

    Raises:
        ValueError: another shape, or an interval out of range.
    """
    if logits.ndim != 2 or interval.shape != logits.shape[:1] or event.shape != logits.shape[:1]:
        shapes = ', '.join(str(tuple(part.shape)) for part in (logits, interval, event))
        raise ValueError(f'logits, interval and event have the shapes {shapes}, expected (N, K), (N,) and (N,)')
    if len(interval) and not 0 <= int(interval.min()) <= int(interval.max()) < logits.shape[1]:
        found = f'{int(interval.min())} to {int(interval.max())}'
        raise ValueError(f'intervals go from {found}, expected 0 to {logits.shape[1] - 1}')
    numbers = torch.arange(logits.shape[1], device=logits.device)
    passed = F.logsigmoid(-logits).masked_fill(numbers >= interval[:, None], 0).sum(1)
    last = logits.gather(1, interval[:, None])[:, 0]
    last = torch.where(event.bool(), F.logsigmoid(last), F.logsigmoid(-last))
    return -(passed + last).sum() / max(len(logits), 1)
