"""Two ways to the same numbers: compared first, then timed in turns, with the memory that each of them takes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from _memory import MIB, peak_memory
from _timing import Spread, exactly, in_turns, ratios, spread, table
from torch import Tensor

Call = Callable[[], Sequence[Tensor]]

LEAST = 2**-6
"""MiB below which the memory of a call is no base of a ratio."""


class Pair(NamedTuple):
    """Two calls that do the same work from the same inputs, and each return what came out.

    Attributes:
        title: What they do, as a row and a result are named.
        theirs: What histomm is measured against.
        own: What histomm does.
        note: What is not alike in the two.
        alike: Gives what to compare in place of what the timed calls return, theirs and histomm's, where those differ
            in what ``note`` says.
        tolerance: Of the comparison, relative, and absolute where values are near 0.
    """

    title: str
    theirs: Call
    own: Call
    note: str = ''
    alike: Callable[[], tuple[Sequence[Tensor], Sequence[Tensor]]] | None = None
    tolerance: float = 1e-4

    def check(self) -> None:
        """Raise AssertionError unless both calls give the same."""
        theirs, own = self.alike() if self.alike else (self.theirs(), self.own())
        if len(theirs) != len(own) or not len(own):
            raise AssertionError(f'{self.title}: {len(theirs)} and {len(own)} results, expected as many, and one')
        for number, (one, other) in enumerate(zip(theirs, own, strict=True)):
            torch.testing.assert_close(
                other,
                one,
                rtol=self.tolerance,
                atol=self.tolerance * max(float(one.abs().max()), 1e-12) if one.is_floating_point() else 0,
                msg=lambda text, number=number: f'{self.title}, result {number}: {text}',
            )


def compare(
    pairs: Iterable[Pair], peer: str, repeats: int, clock: Callable[[], float], device: torch.device
) -> tuple[str, dict[str, Spread]]:
    """Check each pair and then time it in turns; the table with its notes, and the same as results.

    Args:
        pairs: What to compare, best made one by one, so that no pair holds memory while another runs.
        peer: Name of the other side, such as ``'lightly'``.
        repeats: Turns that count.
        clock: Seconds.
        device: Where the calls run.
    """
    rows, notes, results = [], {}, {}
    for pair in pairs:
        pair.check()
        notes[pair.title] = pair.note
        runs = {peer: pair.theirs, 'histomm': pair.own}
        times = in_turns(runs, repeats, clock)
        figures = {name: spread(times[name]).scaled(1e3) for name in runs}
        held = {name: peak_memory(run, device) / MIB for name, run in runs.items()}
        ratio = ratios(times[peer], times['histomm'])
        saved = held[peer] / held['histomm'] if held['histomm'] > LEAST else None
        rows.append(
            [
                pair.title,
                *(figures[name].text(1) for name in runs),
                ratio.text(2),
                *(f'{value:,.1f}' for value in held.values()),
                '–' if saved is None else f'{saved:,.1f}',
            ]
        )
        results[f'{pair.title}, ratio'] = ratio
        results |= {f'{pair.title} by {name}, ms': value for name, value in figures.items()}
        results |= {f'{pair.title} by {name}, MiB': exactly(value) for name, value in held.items()}
        if saved is not None:
            results[f'{pair.title} memory, ratio'] = exactly(saved)
    head = ['', f'{peer}, ms', 'histomm, ms', 'time ratio', f'{peer}, MiB', 'histomm, MiB', 'memory ratio']
    return with_notes(table(head, rows), notes), results


def with_notes(text: str, notes: Mapping[str, str]) -> str:
    """A table and below it what is not alike in its rows."""
    lines = [f'- {title}: {note}.' for title, note in notes.items() if note]
    return '\n'.join([text, '', *lines]) if lines else text
