"""Sums over many negatives that never hold all products at once."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = {'cpu': 2**22, 'other': 2**24}
"""Products held at a time, unless rows are given: what stays in a processor's cache, or keeps an accelerator busy."""


class _LogSumExp(torch.autograd.Function):
    """See :func:`logsumexp_of_products`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, others: Tensor, scale: float, step: int) -> Tensor:
        dtype = torch.promote_types(rows.dtype, torch.float32)
        result = torch.empty(len(rows), dtype=dtype, device=rows.device)
        slope = torch.empty(rows.shape, dtype=dtype, device=rows.device) if ctx.needs_input_grad[0] else None
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            products = rows[part] @ others.mT  # in autocast's dtype, where that is on
            values = products.to(dtype).mul_(scale)
            top = values.amax(1, keepdim=True)
            share = values.sub_(top).exp_()
            total = share.sum(1, keepdim=True)
            result[part] = (total.log() + top).squeeze(1)
            if slope is not None:
                mixed = share.to(products.dtype) @ others.to(products.dtype)
                slope[part] = mixed.to(dtype).mul_(scale).div_(total)
        if slope is not None:
            ctx.save_for_backward(slope.to(rows.dtype))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return (grad[:, None] * slope).to(slope.dtype), None, None, None


def logsumexp_of_products(rows: Tensor, others: Tensor, scale: float, chunk_size: int | None = None) -> Tensor:
    """log Σ_j exp(scale · r_i·o_j) for each row, with gradient to ``rows`` alone.

    The gradient, scale · Σ_j softmax_ij o_j, is formed beside the value, while a chunk of products is there. So N×C
    values are kept for the backward pass instead of N×K, and the products are made once.

    Args:
        rows: (N, C).
        others: (K, C), K > 0; taken as constants.
        scale: What the products are multiplied by, such as 1/τ.
        chunk_size: Rows at a time; None takes as many as :data:`CHUNK` allows.

    Returns:
        (N,) in float32, or float64 if ``rows`` are so.
    """
    if chunk_size is None:
        chunk_size = max(1, CHUNK.get(rows.device.type, CHUNK['other']) // max(len(others), 1))
    return _LogSumExp.apply(rows, others.detach(), scale, chunk_size)
