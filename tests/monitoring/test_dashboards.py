"""The dashboards' files: what the code builds, in Grafana's own form, with words on each panel."""

import json
import re

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from charts.dashboards import BUILDERS, FOLDER, render
from tests.monitoring.boards import ANNOTATIONS, BOARDS, QUERIES, panels


@pytest.mark.parametrize("name", BUILDERS)
def test_the_file_is_what_the_code_builds(name):
    written = (FOLDER / f"{name}.json").read_text()
    assert written == render(name), "python -m charts.dashboards writes them anew"


def test_no_file_is_left_over():
    assert set(BOARDS) == set(BUILDERS)


@pytest.mark.parametrize("name", BOARDS)
def test_grafanas_types_know_every_key(name):
    register_default_plugins()
    read = Dashboard.from_json(BOARDS[name])
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == BOARDS[name]


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_numbers_of_their_own_and_do_not_overlap(name):
    found = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    taken = set()
    for panel in found:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_each_panel_says_what_it_shows_in_which_unit_from_the_chosen_source():
    for board, panel in panels():
        where = f"{board}: {panel['title']}"
        assert panel["description"].endswith("."), where
        assert panel["datasource"]["uid"] == "${datasource}", where
        assert panel["targets"], where
        for target in panel["targets"]:
            assert target["legendFormat"], where
        if panel["type"] != "state-timeline":
            assert panel["fieldConfig"]["defaults"]["unit"], where


def test_boards_have_addresses_of_their_own_and_lead_to_each_other():
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
    for board in BOARDS.values():
        assert board["tags"] == ["training-engine"]
        assert [link["tags"] for link in board["links"]] == [["training-engine"]]


def test_every_variable_that_is_asked_for_is_there():
    for asked in [*QUERIES, *ANNOTATIONS]:
        named = set(re.findall(r"\$(?!__)(\w+)", asked.expr))
        known = {variable["name"] for variable in BOARDS[asked.board]["templating"]["list"]}
        assert named <= known, asked


def test_the_loop_is_told_by_marks():
    told = [note.panel for note in ANNOTATIONS if note.board == "loop"]
    assert told == ["Drift", "Trigger", "Training", "Gate", "Promotion"]
