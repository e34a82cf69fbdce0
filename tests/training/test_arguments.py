"""Arguments of the wrong kind: one sentence that says what was given and what is allowed."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from inspect import signature

import pytest

from utils.training.arguments import (
    described,
    is_defined_again,
    is_whole,
    require_flag,
    require_instance,
    require_methods,
    require_name,
    with_known_fields,
)
from utils.training.errors import TrainingError, UnknownNameError, WrongTypeError


@with_known_fields
@dataclass(frozen=True)
class Garden:
    """Two fields."""

    flowers: int
    trees: int = 2


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None"),
        (True, "True"),
        (1.5, "1.5"),
        ("gpt2", "'gpt2'"),
        ("x" * 100, f"'{'x' * 59}..."),
        (dict, "the class dict"),
        ({"a": 1}, "a dict"),
    ],
)
def test_a_value_is_named_by_itself_or_its_kind(value, words):
    assert described(value) == words


def test_a_wrong_kind_is_a_type_error_with_what_to_do():
    require_instance("model", "a text", (str, type(None)), "a text")
    with pytest.raises(TypeError, match=r"^data is None, allowed is a list; load it first\.$"):
        require_instance("data", None, list, "a list", "load it first")
    assert issubclass(WrongTypeError, TrainingError)


def test_an_object_needs_its_methods_and_a_class_is_none():
    require_methods("text", "abc", ["upper"], "a text")
    with pytest.raises(WrongTypeError, match="text is 5, allowed is a text"):
        require_methods("text", 5, ["upper"], "a text")
    with pytest.raises(WrongTypeError, match="text is the class str, allowed is a text"):
        require_methods("text", str, ["upper"], "a text")


def test_a_flag_is_no_text():
    require_flag("shuffle", False)
    with pytest.raises(ValueError, match="shuffle is 'no', allowed is True or False"):
        require_flag("shuffle", "no")


@pytest.mark.parametrize("value", ["", None, dict])
def test_a_name_is_text(value):
    require_name("name", "mine", "x")
    with pytest.raises(WrongTypeError, match=r"allowed is a name; write @register"):
        require_name("name", value, '@register("mine")')


def test_whole_numbers_leave_out_true_and_fractions():
    assert [is_whole(value, 1) for value in (1, 7, 0, True, 1.0, "1")] == [True, True, *[False] * 4]


def test_one_definition_run_twice_is_told_from_two():
    def define():
        def made():
            return None

        return made

    assert is_defined_again(define(), define())
    assert not is_defined_again(define, define())


def test_a_misspelt_field_gets_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"Unknown field of Garden 'tree'.*mean: trees\?"):
        Garden(1, tree=3)


def test_a_dataclass_stays_what_it_was():
    garden = Garden(flowers=5)
    assert (garden, replace(garden, trees=9)) == (Garden(5, 2), Garden(5, 9))
    assert pickle.loads(pickle.dumps(garden)) == garden
    assert list(signature(Garden).parameters) == ["flowers", "trees"]
    with pytest.raises(TypeError, match="flowers"):
        Garden()
