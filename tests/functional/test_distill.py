"""Self-distillation against loops over views and hand-worked numbers."""

import math

import pytest
import torch

from histomm.functional import dino_loss, distillation_entropies, distillation_loss, teacher_probabilities


def naive(student, teacher, center, student_temp, teacher_temp):
    """−Σ p_t log p_s of one pair, in Python floats."""

    def softmax(values):
        top = max(values)
        raised = [math.exp(value - top) for value in values]
        return [value / sum(raised) for value in raised]

    target = softmax([(t - c) / teacher_temp for t, c in zip(teacher, center, strict=True)])
    found = softmax([s / student_temp for s in student])
    return -sum(t * math.log(s) for t, s in zip(target, found, strict=True))


def test_one_pair_by_hand():
    teacher, center = torch.tensor([[0.10, 0.02, -0.04]]), torch.tensor([0.02, 0.01, 0.0])
    expected = torch.tensor([[0.817287, 0.142023, 0.040690]])
    torch.testing.assert_close(teacher_probabilities(teacher, center, 0.04), expected, atol=1e-6, rtol=0)
    loss = distillation_loss(torch.tensor([[0.3, 0.1, -0.2]]), teacher, center, 0.1, 0.04)
    assert loss.item() == pytest.approx(0.620343, abs=1e-6)
    nothing = teacher_probabilities(torch.zeros(3), center, 0.04)
    torch.testing.assert_close(nothing, torch.tensor([0.254275, 0.326496, 0.419229]), atol=1e-6, rtol=0)


def test_all_pairs_of_views_against_loops():
    student, teacher = torch.randn(5, 3, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    center = torch.randn(4, dtype=torch.float64)
    pairs = [
        naive(student[v, b].tolist(), teacher[g, b].tolist(), center.tolist(), 0.3, 0.2)
        for b in range(3) for g in range(2) for v in range(5) if v != g
    ]  # fmt: skip
    assert len(pairs) == 3 * 8
    assert dino_loss(student, teacher, center, 0.3, 0.2).item() == pytest.approx(sum(pairs) / len(pairs))


def test_several_targets_of_an_image_against_loops():
    student, teacher = torch.randn(5, 3, 4, dtype=torch.float64), torch.randn(3, 2, 4, dtype=torch.float64)
    center = torch.randn(4, dtype=torch.float64)
    student.requires_grad_()
    targets = teacher_probabilities(teacher, center, 0.2).requires_grad_()
    found = distillation_entropies(student, targets, 0.3)
    for b in range(3):
        for t in range(2):
            views = [naive(student[v, b].tolist(), teacher[b, t].tolist(), center.tolist(), 0.3, 0.2) for v in range(5)]
            assert found[b, t].item() == pytest.approx(sum(views) / 5)
    found.sum().backward()
    assert targets.grad is None
    assert torch.autograd.gradcheck(lambda x: distillation_entropies(x, targets.detach(), 0.3), student)
    half = distillation_entropies(student.detach().bfloat16(), targets.detach().float(), 0.3)
    assert half.dtype == torch.float32


def test_what_does_not_fit_of_several_targets_is_named():
    with pytest.raises(ValueError, match=r'student has shape \(5, 3, 4\) and targets \(2, 2, 4\)'):
        distillation_entropies(torch.zeros(5, 3, 4), torch.zeros(2, 2, 4), 0.1)
    with pytest.raises(ValueError, match='temperature of the student is 0'):
        distillation_entropies(torch.zeros(5, 3, 4), torch.zeros(3, 2, 4), 0)


def test_only_the_student_learns():
    student, teacher, center = (torch.randn(*shape, requires_grad=True) for shape in ((3, 2, 4), (2, 2, 4), (4,)))
    dino_loss(student, teacher, center, 0.1, 0.04).backward()
    assert student.grad.abs().sum(2).all()
    assert teacher.grad is None
    assert center.grad is None


def test_gradient():
    student, teacher, center = (torch.randn(*shape, dtype=torch.float64) for shape in ((3, 2, 4), (2, 2, 4), (4,)))
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dino_loss(x, teacher, center, 0.5, 0.3), student)
    assert torch.autograd.gradcheck(lambda x: distillation_loss(x[0], teacher[0], center, 0.5, 0.3), student)


def test_least_where_both_agree():
    """By Gibbs' inequality no distribution of the student beats the teacher's own, whose loss is its entropy."""
    teacher, center = torch.randn(6, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    same = (teacher - center) / 2
    least = distillation_loss(same, teacher, center, 1.0, 2.0)
    target = teacher_probabilities(teacher, center, 2.0)
    torch.testing.assert_close(least, -(target * target.log()).sum(1).mean())
    assert (
        torch.stack([distillation_loss(same + torch.randn(6, 5), teacher, center, 1.0, 2.0) for _ in range(20)]) > least
    ).all()


def test_no_rows_give_a_zero_that_is_connected():
    student = torch.zeros(0, 4, requires_grad=True)
    loss = distillation_loss(student, torch.zeros(0, 4), torch.zeros(4), 0.1, 0.04)
    loss.backward()
    assert loss.item() == 0


def test_half_precision_is_reckoned_in_single():
    student, teacher, center = torch.randn(2, 3, 8), torch.randn(1, 3, 8), torch.zeros(8)
    loss = dino_loss(student.bfloat16(), teacher.bfloat16(), center, 0.1, 0.04)
    assert loss.dtype == torch.float32
    reference = dino_loss(student.bfloat16().float(), teacher.bfloat16().float(), center, 0.1, 0.04)
    torch.testing.assert_close(loss, reference)


@pytest.mark.parametrize(
    ('student', 'teacher', 'center', 'temps', 'message'),
    [
        ((2, 4), (3, 4), 4, (0.1, 0.1), r'student has shape \(2, 4\) and teacher \(3, 4\)'),
        ((2, 4), (2, 4), 3, (0.1, 0.1), r'center has shape \(3,\), expected \(4,\)'),
        ((2, 4), (2, 4), 4, (0, 0.1), 'temperature of the student is 0'),
        ((2, 4), (2, 4), 4, (0.1, 0), 'temperature of the teacher is 0'),
        ((2, 3, 4), (3, 3, 4), 4, (0.1, 0.1), 'with G <= V'),
        ((1, 3, 4), (1, 3, 4), 4, (0.1, 0.1), 'found 1 views of the student and 1 of the teacher'),
    ],
)
def test_what_does_not_fit_is_named(student, teacher, center, temps, message):
    loss = dino_loss if len(student) == 3 else distillation_loss
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(student), torch.zeros(teacher), torch.zeros(center), *temps)
