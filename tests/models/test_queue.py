"""FeatureQueue against a plain list."""

import pytest
import torch
import torch.nn.functional as F

from histomm.functional import unit_rows
from histomm.models import FeatureQueue


@pytest.mark.parametrize('length', [0, 1, 15, 16, 17])
@pytest.mark.parametrize('batch', [1, 5, 16, 40])
def test_holds_what_a_ring_of_single_writes_holds(length, batch):
    queue = FeatureQueue(length, 3)
    ring, pointer = list(queue.rows), 0
    for _ in range(4):
        keys = F.normalize(torch.randn(batch, 3), dim=1)
        queue.enqueue(keys)
        for key in keys if length else []:
            ring[pointer] = key
            pointer = (pointer + 1) % length
    assert len(queue) == length
    assert int(queue.pointer) == pointer
    if length:
        torch.testing.assert_close(queue.rows, torch.stack(ring), rtol=0, atol=0)


def test_starts_with_unit_rows():
    torch.testing.assert_close(FeatureQueue(7, 5).rows.norm(dim=1), torch.ones(7))


def test_a_write_before_the_backward_pass_changes_no_gradient():
    queue = FeatureQueue(4, 2)
    anchor, positive = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0)).unbind()
    gradients = []
    for write in (False, True):
        rows = anchor.clone().requires_grad_()
        loss = queue.contrast(rows, positive, 0.2)
        if write:
            queue.enqueue(torch.tensor([[1.0, 0.0]]))
        loss.backward()
        gradients.append(rows.grad)
    assert torch.equal(*gradients)
    assert gradients[0].abs().sum() > 0
    assert torch.equal(queue.rows[0], torch.tensor([1.0, 0.0]))


def test_a_write_before_the_backward_pass_leaves_the_gradient():
    """What FeatureQueue.contrast keeps for the backward pass is not the buffer itself, which is not copied."""
    queue = FeatureQueue(6, 4)
    anchor, positive = torch.randn(2, 5, 4)
    anchor.requires_grad_()
    logits = torch.cat(
        [(unit_rows(anchor) * unit_rows(positive)).sum(1, keepdim=True), unit_rows(anchor) @ queue.rows.T], 1
    )
    expected = F.cross_entropy(logits / 0.2, torch.zeros(5, dtype=torch.long))
    gradient = torch.autograd.grad(expected, anchor)[0]
    loss = queue.contrast(anchor, positive, 0.2)
    queue.enqueue(unit_rows(torch.randn(6, 4)))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, anchor)[0], gradient)


def test_state_survives_saving():
    queue = FeatureQueue(5, 2)
    queue.enqueue(F.normalize(torch.randn(3, 2), dim=1))
    other = FeatureQueue(5, 2)
    other.load_state_dict(queue.state_dict())
    key = F.normalize(torch.randn(4, 2), dim=1)
    queue.enqueue(key)
    other.enqueue(key)
    assert torch.equal(queue.rows, other.rows)
    assert int(queue.pointer) == int(other.pointer) == 2


def test_strict_queue_names_both_numbers():
    with pytest.raises(ValueError, match=r'length 16 .* 5 rows'):
        FeatureQueue(16, 2, strict=True).enqueue(torch.randn(5, 2))


def test_negative_length_is_refused():
    with pytest.raises(ValueError, match='length is -1'):
        FeatureQueue(-1, 2)
