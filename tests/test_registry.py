"""Parts that are made when they are first built, since what they derive from may be missing."""

import pytest
from mmengine.registry import Registry

from histomm.registry import register_on_demand


def test_the_class_is_made_once_and_only_when_asked_for():
    parts, made = Registry('part'), []

    @register_on_demand(parts, 'Part', 'builtins')
    def part_class():
        made.append(1)
        return type('Part', (dict,), {})

    assert made == []
    first, second = (parts.build(dict(type='Part', number=number)) for number in (1, 2))
    assert (first, second) == ({'number': 1}, {'number': 2})
    assert type(first) is type(second) is part_class()
    assert made == [1]


def test_a_missing_library_is_named():
    parts = Registry('part')

    @register_on_demand(parts, 'Part', 'no_such_library')
    def part_class():
        import no_such_library

        return no_such_library.Part

    with pytest.raises(
        ModuleNotFoundError, match=r'histomm\.Part needs no_such_library .*No module named .*make setup'
    ):
        parts.build(dict(type='Part'))
