"""EMATeacher against the formula, worked out by hand."""

import math

import pytest
from mmengine.logging import MessageHub
from torch import nn

from histomm.models import EMATeacher


def _linear(value: float) -> nn.Linear:
    linear = nn.Linear(1, 1, bias=False)
    nn.init.constant_(linear.weight, value)
    return linear


def test_first_update_copies_then_trails():
    student = _linear(1.0)
    teacher = EMATeacher(student, momentum=0.9)
    nn.init.constant_(student.weight, 2.0)
    teacher.update(student)
    assert teacher.module.weight.item() == 2.0
    nn.init.constant_(student.weight, 4.0)
    teacher.update(student)
    assert teacher.module.weight.item() == pytest.approx(0.9 * 2 + 0.1 * 4)
    teacher.update(student)
    assert teacher.module.weight.item() == pytest.approx(0.9 * 2.2 + 0.1 * 4)


def test_cosine_from_momentum_to_end_momentum():
    student = _linear(0.0)
    teacher = EMATeacher(student, momentum=0.996, end_momentum=1.0, total_steps=4)
    found = []
    for _ in range(6):
        found.append(teacher.current_momentum())
        teacher.update(student)
    quarter = 1 - 0.004 * (1 + math.cos(math.pi / 4)) / 2
    # in the middle of the schedule half of the way is gone, worked out by hand
    expected = [0.996, quarter, 0.998, 1 - 0.004 * (1 + math.cos(3 * math.pi / 4)) / 2, 1.0, 1.0]
    assert found == pytest.approx(expected)


def test_momentum_one_never_changes_after_the_copy():
    student = _linear(3.0)
    teacher = EMATeacher(student, momentum=1.0)
    teacher.update(student)
    nn.init.constant_(student.weight, -1.0)
    teacher.update(student)
    assert teacher.module.weight.item() == 3.0


def test_buffers_are_the_teachers_own():
    student = nn.BatchNorm1d(1)
    teacher = EMATeacher(student, momentum=0.5)
    teacher.update(student)
    student.running_mean.fill_(7.0)
    teacher.update(student)
    assert teacher.module.running_mean.item() == 0.0


def test_no_gradient_and_steps_are_saved():
    student = _linear(1.0)
    teacher = EMATeacher(student)
    teacher.update(student)
    assert not any(p.requires_grad for p in teacher.parameters())
    other = EMATeacher(_linear(5.0))
    other.load_state_dict(teacher.state_dict())
    nn.init.constant_(student.weight, 2.0)
    other.update(student)
    assert other.module.weight.item() == pytest.approx(1.001)


@pytest.mark.parametrize(('name', 'value'), [('momentum', 1.5), ('end_momentum', -0.1)])
def test_bad_momentum_is_named(name, value):
    with pytest.raises(ValueError, match=f'{name} is {value}'):
        EMATeacher(_linear(1.0), **{name: value})


def test_schedule_without_length_is_an_error():
    MessageHub.get_instance('without_a_loop')  # earlier runs in this process have told theirs how long they are
    with pytest.raises(ValueError, match='total_steps'):
        EMATeacher(_linear(1.0), end_momentum=1.0).current_momentum()
