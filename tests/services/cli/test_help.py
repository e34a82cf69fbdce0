"""What every command's help tells, and what no message does."""

from __future__ import annotations

import pytest
import typer.main
from typer.core import TyperGroup

from services.cli.main import app
from tests.services.cli.conftest import call


def _commands(group, *path):
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _commands(command, *path, name)
        else:
            yield (*path, name), command


COMMANDS = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_shows_an_example_of_itself(words):
    called = " ".join(words).removesuffix(" list")
    assert f"$ trainctl {called}" in call(*words, "--help").out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_switch_is_shown_without_a_value(words):
    text = call(*words, "--help").out
    assert "bool" not in text
    assert words == ("demo",) or "--json" in text


def test_prose_fills_the_width():
    text = call("up", "--help").out
    sentence = "Everything lies in the folder; models, jobs and data are there again"
    assert sentence in text


@pytest.mark.parametrize("words", [("schedules", "nothing"), ("triggers", "nothing")])
def test_a_group_that_lists_all_takes_no_word_for_a_name(words):
    result = call(*words)
    assert (result.code, "No such command 'nothing'" in result.err) == (2, True)
