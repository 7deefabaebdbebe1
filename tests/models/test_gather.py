"""Gathered rows and their gradients on two processes against one that holds all rows."""

import torch
from distributed import run_two_processes

from histomm.models.gather import gather_with_grad


def test_one_process_gets_its_rows_back():
    rows = torch.randn(3, 2, requires_grad=True)
    assert gather_with_grad(rows) is rows


def loss_of(rows):
    """Not separable over rows: each pair of rows counts."""
    flat = rows.flatten(1)
    return (flat @ flat.mT).tanh().square().mean()


def _check(rank, dtype):
    everything = torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    whole = everything.clone().requires_grad_()
    loss_of(whole).backward()
    # a strided view: what is sent has to be laid out anew
    mine = everything[3 * rank : 3 * rank + 3].mT.contiguous().mT.requires_grad_()
    assert not mine.is_contiguous()
    gathered = gather_with_grad(mine)
    assert torch.equal(gathered, everything)
    loss_of(gathered).backward()
    # twice the gradient on each of two ranks, which DDP's mean over ranks takes back
    torch.testing.assert_close(mine.grad, 2 * whole.grad[3 * rank : 3 * rank + 3])


def test_two_processes_equal_one():
    run_two_processes(_check, torch.float64)


def _check_different_losses(rank):
    mine = torch.ones(1, 2, requires_grad=True)
    (gather_with_grad(mine) * torch.tensor([[1.0], [10.0]]) * (rank + 1)).sum().backward()
    # rank 0 asks for 1 and 10, rank 1 for 2 and 20: summed 3 and 30
    assert mine.grad.tolist() == [[3.0 * 10**rank] * 2]


def test_gradients_are_summed_over_ranks():
    run_two_processes(_check_different_losses)
