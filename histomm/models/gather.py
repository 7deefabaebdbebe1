"""Gathering rows over processes without cutting the graph."""

import torch
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size
from torch import Tensor


class _GatherRows(torch.autograd.Function):
    """Rows of all ranks; backwards, the sum over ranks of what each wants of this rank's rows."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor) -> Tensor:
        ctx.own = slice(get_rank() * len(rows), (get_rank() + 1) * len(rows))
        return torch.cat(all_gather(rows.contiguous()))

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        grad = grad.clone()
        all_reduce(grad)
        return grad[ctx.own]


def gather_with_grad(x: Tensor) -> Tensor:
    """Rows of all ranks in rank order, with a gradient that is summed over ranks.

    A loss of the gathered rows is the same on every rank, and so is its gradient G for all of them. The sum gives each
    rank ``world size`` times its part of G; DDP, which averages the gradients of parameters over ranks, takes the
    factor away again. So the parameters get the gradient of the loss over the whole batch, once.

    Every rank has to call it, forwards and backwards, with the same shape and dtype.

    Args:
        x: (N, ...) rows of this rank.

    Returns:
        (world size * N, ...); ``x`` itself in a single process.
    """
    return x if get_world_size() == 1 else _GatherRows.apply(x)
