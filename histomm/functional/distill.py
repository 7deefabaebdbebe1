"""Self-distillation: the cross-entropy of a student's distribution under a centred and sharpened teacher's.

Shapes: N pairs of rows, or V student and G teacher views of B images; D outputs of the heads.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def teacher_probabilities(teacher: Tensor, center: Tensor, temperature: float) -> Tensor:
    """softmax((g − c)/τ_t) in float32 at least, without gradient.

    Args:
        teacher: (…, D) outputs g of the teacher's head.
        center: (D,) c.
        temperature: τ_t > 0.

    Raises:
        ValueError: the centre has another width, or the temperature is not positive.
    """
    if center.shape != teacher.shape[-1:]:
        raise ValueError(f'center has shape {tuple(center.shape)}, expected ({teacher.shape[-1]},)')
    if not temperature > 0:
        raise ValueError(f'the temperature of the teacher is {temperature}, expected a number > 0')
    dtype = torch.promote_types(teacher.dtype, torch.float32)
    return F.softmax((teacher.detach().to(dtype) - center.detach().to(dtype)) / temperature, dim=-1)


def _log_student(student: Tensor, temperature: float) -> Tensor:
    if not temperature > 0:
        raise ValueError(f'the temperature of the student is {temperature}, expected a number > 0')
    return F.log_softmax(student.to(torch.promote_types(student.dtype, torch.float32)) / temperature, dim=-1)


def distillation_loss(
    student: Tensor, teacher: Tensor, center: Tensor, student_temp: float, teacher_temp: float
) -> Tensor:
    """Mean of H(p_t, p_s) = −Σ_d p_t log p_s over rows, the term of Caron et al., ICCV 2021, eq. 1.

    Args:
        student: (N, D) outputs of the student's head.
        teacher: (N, D) of the teacher's; row i belongs to row i of the student. Taken as constants.
        center: (D,) subtracted from the teacher's outputs.
        student_temp: τ_s > 0.
        teacher_temp: τ_t > 0.

    Returns:
        Scalar >= 0; a zero connected to the graph if N = 0.

    Raises:
        ValueError: shapes disagree, or a temperature is not positive.
    """
    if student.ndim != 2 or student.shape != teacher.shape:
        raise ValueError(
            f'student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}, expected (N, D) twice'
        )
    entropies = -(teacher_probabilities(teacher, center, teacher_temp) * _log_student(student, student_temp)).sum(1)
    return entropies.sum() / max(len(entropies), 1)


def distillation_entropies(student: Tensor, targets: Tensor, student_temp: float) -> Tensor:
    """H of several distributions of a teacher and the mean over all views of a student, image by image.

    H(p, s_v) = −Σ_d p_d log softmax(s_v/τ_s)_d is linear in p and Σ_d p_d = 1, so its mean over views is that of
    logsumexp(s_v/τ_s) less Σ_d p_d·mean_v(s_v,d)/τ_s: no logarithm of V·B·D numbers is kept.

    Args:
        student: (V, B, D) outputs of the student's head.
        targets: (B, T, D) probabilities; those of image b are compared with its views. Taken as constants.
        student_temp: τ_s > 0.

    Returns:
        (B, T) of numbers >= 0, in float32 at least.

    Raises:
        ValueError: shapes disagree, or the temperature is not positive.
    """
    if student.ndim != 3 or targets.ndim != 3 or student.shape[1:] != (targets.shape[0], targets.shape[2]):
        raise ValueError(
            f'student has shape {tuple(student.shape)} and targets {tuple(targets.shape)}, expected (V, B, D) and '
            '(B, T, D)'
        )
    if not student_temp > 0:
        raise ValueError(f'the temperature of the student is {student_temp}, expected a number > 0')
    logits = student.to(torch.promote_types(student.dtype, torch.float32)) / student_temp
    linear = torch.einsum('btd,bd->bt', targets.detach().to(logits.dtype), logits.mean(0))
    return logits.logsumexp(2).mean(0)[:, None] - linear


def dino_loss(student: Tensor, teacher: Tensor, center: Tensor, student_temp: float, teacher_temp: float) -> Tensor:
    """Mean cross-entropy of all pairs of a teacher's and another student's view (Caron et al., ICCV 2021, eq. 3).

    The first G views of the student are those that the teacher sees, and a view is not compared with itself.

    Args:
        student: (V, B, D), global views first.
        teacher: (G, B, D) of the global views, G <= V.
        center: (D,).
        student_temp: τ_s > 0.
        teacher_temp: τ_t > 0.

    Returns:
        Scalar: mean over images and the G·V − G pairs of views.

    Raises:
        ValueError: shapes disagree, there is no pair, or a temperature is not positive.
    """
    if student.ndim != 3 or teacher.ndim != 3 or student.shape[1:] != teacher.shape[1:] or len(teacher) > len(student):
        raise ValueError(
            f'student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}, expected (V, B, D) and '
            '(G, B, D) with G <= V'
        )
    views, seen = len(student), len(teacher)
    if views < 2 or not seen:
        raise ValueError(f'found {views} views of the student and {seen} of the teacher, expected a pair of two')
    targets, logs = teacher_probabilities(teacher, center, teacher_temp), _log_student(student, student_temp)
    # Σ_g Σ_{v≠g} p_g·log p_v is Σ_g p_g · Σ_v log p_v less the pairs of a view with itself
    total = (targets.sum(0) * logs.sum(0)).sum() - (targets * logs[:seen]).sum()
    return -total / (seen * (views - 1) * max(student.shape[1], 1))
