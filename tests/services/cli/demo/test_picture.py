"""The picture and the tables hold what was seen."""

import io

import pytest
from PIL import Image
from rich.console import Console

from services.cli.demo.client import Answer
from services.cli.demo.drift_log import DriftPoint
from services.cli.demo.picture import Thresholds, draw
from services.cli.demo.report import report
from services.cli.demo.timeline import Event

THRESHOLDS = Thresholds(0.1, 0.2)


def point(at, score, status, version="1"):
    return DriftPoint(at, version, score, status, 500, ("brightness",))


def answers():
    return [
        Answer(1000.0 + second, 0.01, "1", (True, second < 20), (False, second > 10))
        for second in range(40)
    ]


def events():
    return [Event(5.0, "the digits drift", "drift"), Event(6.0, "told in the table only")]


def size(path):
    with Image.open(path) as image:
        return image.size


def test_the_picture_is_wide_enough_for_a_readme(tmp_path):
    drift = [point(1010, 0.01, "healthy"), point(1020, 0.31, "critical"), point(1030, 0, "warning")]
    path = draw(
        tmp_path / "new" / "demo.png",
        started=1000.0,
        drift=drift,
        answers=answers(),
        events=events(),
        thresholds=THRESHOLDS,
    )
    width, height = size(path)
    assert width >= 1200
    assert height >= 600


@pytest.mark.parametrize("seen", [[], answers()])
def test_a_story_that_broke_off_is_drawn_as_well(tmp_path, seen):
    path = draw(
        tmp_path / "demo.png",
        started=1000.0,
        drift=[],
        answers=seen,
        events=[],
        thresholds=THRESHOLDS,
    )
    assert path.stat().st_size > 0


def test_the_report_names_events_latencies_failures_and_places(tmp_path):
    seen = [*answers(), Answer(1050.0, 1.0, None, (), (), "It broke.")]
    text = io.StringIO()
    Console(file=text, width=120).print(
        report(
            events=events(),
            answers=seen,
            trace_id="0123456789abcdef",
            urls={"registry": "http://127.0.0.1:1234"},
            picture=tmp_path / "demo.png",
        )
    )
    shown = text.getvalue()
    for words in ("told in the table only", "version 1", "10.0", "0123456789abcdef", ":1234/docs"):
        assert words in shown
    row = next(line for line in shown.splitlines() if "all" in line)
    assert [cell.strip() for cell in row.split("│")[2:4]] == ["41", "1"]
