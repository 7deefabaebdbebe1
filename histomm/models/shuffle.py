"""Rows of all processes dealt out anew, each sent to the one process that gets it.

Shapes: W processes with B rows each.
"""

import torch
import torch.distributed as dist
from mmengine.dist import broadcast, get_rank, get_world_size
from torch import Tensor


@torch.no_grad()
def shuffle_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """A random share of the rows of all processes, for batch norm that cannot tell by its statistics whose they are.

    Each process sends what others get and no more, (W − 1)/W of its rows; had every process the rows of all to choose
    from, it would be W − 1 times its rows, the greatest part of what a step of contrast with a queue sends.

    Args:
        rows: (B, ...) of this process; B is the same in all.

    Returns:
        (B, ...) rows, and their order (W·B,) for :func:`unshuffle_rows`: number ``order[k·B + i]`` of all rows, counted
        by process, is row i of process k.
    """
    order = torch.randperm(len(rows) * get_world_size())
    broadcast(order, src=0)
    return _deal(rows, order), order


@torch.no_grad()
def unshuffle_rows(rows: Tensor, order: Tensor) -> Tensor:
    """Rows (B, ...) made from shuffled ones, back in the process and place of what they were made from."""
    return _deal(rows, order.argsort())


def _deal(rows: Tensor, order: Tensor) -> Tensor:
    """The rows that ``order`` (W·B,) on the CPU gives to this process."""
    world, rank = get_world_size(), get_rank()
    if world == 1:
        return rows[order.to(rows.device)]
    last = rows.dim() == 4 and not rows.is_contiguous() and rows.is_contiguous(memory_format=torch.channels_last)
    rows = rows.movedim(1, -1) if last else rows
    given = order.view(world, -1)
    owner, place = given // len(rows), given % len(rows)
    leaving = rows[place[owner == rank].to(rows.device)].contiguous()
    arriving = torch.empty_like(leaving)
    dist.all_to_all_single(
        arriving, leaving, owner[rank].bincount(minlength=world).tolist(), (owner == rank).sum(1).tolist()
    )
    dealt = arriving[owner[rank].argsort(stable=True).argsort().to(rows.device)]
    return dealt.movedim(-1, 1) if last else dealt
