"""The runbooks: a section for each alert, whole, with commands that exist."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from services.cli.main import app

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/runbooks.md").read_text()
RULES = yaml.safe_load((ROOT / "charts/training-engine/files/rules.yaml").read_text())
ALERTS = {r["alert"]: r for group in RULES["groups"] for r in group["rules"] if "alert" in r}
SECTIONS = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", TEXT, re.DOTALL | re.MULTILINE))
COMMANDS = sorted(set(re.findall(r"`trainctl\s+([^`]+)`", TEXT)))


def test_each_alert_has_a_section_and_each_section_an_alert():
    assert sorted(SECTIONS) == sorted(ALERTS)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_why_what_first_and_whom_to_call(name):
    section = SECTIONS[name]
    assert section.startswith(f"{ALERTS[name]['labels']['severity'].capitalize()}. **Means:**")
    for part in ("**Matters:**", "\n1. ", "\n2. ", "**Escalate** to"):
        assert part in section


def test_links_within_the_page_lead_somewhere():
    anchors = {name.lower() for name in SECTIONS}
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) <= anchors


@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_exists_with_its_options(line):
    command, words = get_command(app), shlex.split(line)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert command.name not in {"trainctl", None}, f"there is no command 'trainctl {line}'"
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known
