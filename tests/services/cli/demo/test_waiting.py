"""Waiting ends with what was waited for, or with a sentence."""

import pytest

from services.cli.demo.traces import services_that_said
from services.cli.demo.waiting import DemoError, wait_for


def test_it_looks_until_there_is_something():
    looks = iter([None, None, "there"])
    assert wait_for("Something", lambda: next(looks), seconds=30) == "there"


def test_it_gives_up_with_a_sentence():
    with pytest.raises(DemoError, match=r"Something did not come within 0.01 s"):
        wait_for("Something", lambda: None, seconds=0.01)


def test_a_trace_is_found_in_the_logs_that_hold_it(tmp_path):
    (tmp_path / "a.log").write_text('{"trace_id": "abc"}\n')
    (tmp_path / "b.log").write_text('{"trace_id": null}\n')
    logs = {name: tmp_path / f"{name}.log" for name in ("a", "b", "c")}
    assert services_that_said(logs, "abc") == ["a"]
