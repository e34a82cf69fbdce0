"""Events, in the order in which they happened."""

import pytest

from services.cli.demo.timeline import Timeline


@pytest.fixture
def shown():
    return []


@pytest.fixture
def timeline(shown):
    times = iter([1000.0, 1002.5, 1010.0, 1011.0])
    return Timeline(shown.append, clock=lambda: next(times))


def test_events_are_counted_from_the_start_and_shown_at_once(timeline, shown):
    timeline.note("a client begins", mark="client")
    assert shown == ["   2.5 s  a client begins"]
    assert timeline.events[0].mark == "client"
    assert timeline.seconds() == 10


def test_what_is_learnt_late_stands_where_it_happened(timeline):
    timeline.note("seen at once")
    timeline.note("seen later", at=1001.0)
    assert [event.what for event in timeline.ordered()] == ["seen later", "seen at once"]
