"""What is counted when monitors are killed, stand by, or find another Redis than they left."""

from __future__ import annotations

import time

import numpy as np
import pytest

from services.monitor.stream.entries import GROUP, Entries
from tests.waiting import wait_until
from utils.service.contracts.predictions import STREAM

BLANK = np.zeros((1, 1, 8, 8))


def is_read(platform, count):
    """Whether so many summaries are in a window that is being filled."""
    return any(group["pending"] == count for group in platform.redis.xinfo_groups(STREAM))


def rows_of(monitor):
    return sum(window.rows for window in monitor.client.windows("digits", 200))


def test_kills_lose_no_summary_and_count_none_twice(platform, reference, sample):
    platform.register(profile=reference)
    monitor = platform.monitor(WINDOW_ROWS=100)
    images = sample(4000)
    for number in range(5):
        platform.send(images[number * 800 : (number + 1) * 800])
        time.sleep(0.1 * number)
        monitor.kill()
        monitor.start()
    wait_until(lambda: rows_of(monitor) >= 4000, 60)
    time.sleep(0.5)
    windows = monitor.client.windows("digits", 200)
    assert [window.rows for window in windows] == [100] * 40
    assert len({(window.window_start, window.window_end) for window in windows}) == 40
    assert platform.redis.xpending(STREAM, GROUP)["pending"] == 0


def test_a_standby_takes_over_with_the_window_that_was_open(platform, reference, sample):
    platform.register(profile=reference)
    first = platform.monitor(LOCK_SECONDS=8)
    wait_until(lambda: first.client.platform().active)
    second = platform.monitor(LOCK_SECONDS=8)
    platform.send(sample(300))
    wait_until(lambda: is_read(platform, 300))
    assert not second.client.platform().active
    first.kill()
    wait_until(lambda: second.client.platform().active, 60)
    platform.send(sample(200))
    wait_until(lambda: rows_of(second) == 500)
    assert len(second.client.windows("digits")) == 1


def test_a_window_whose_monitor_died_before_the_alert_has_it_from_the_next(
    platform, reference, sample
):
    platform.register(profile=reference)
    monitor = platform.monitor()
    platform.send(1 - sample(500))
    wait_until(monitor.client.alerts)
    monitor.kill()
    platform.redis.delete("training:monitor:alerts", "training:monitor:judged")
    monitor.start()
    (alert,) = wait_until(monitor.client.alerts)
    assert (alert.type, alert.severity) == ("drift", "critical")


def test_the_last_windows_of_twenty_versions_are_at_hand(platform, reference, sample):
    platform.register(profile=reference)
    monitor = platform.monitor(WINDOW_ROWS=100)
    versions = [str(number) for number in range(1, 23)]
    for version in versions:
        platform.send(sample(100), version=version, per_request=50)
    wait_until(lambda: len(monitor.client.windows("digits", 200)) == len(versions))
    wait_until(
        lambda: {drift.model_version for drift in monitor.client.drift()} == set(versions[2:])
    )


def test_a_stopped_replica_hands_over_at_once(platform):
    first = platform.monitor(LOCK_SECONDS=60)
    wait_until(lambda: first.client.platform().active)
    second = platform.monitor(LOCK_SECONDS=60)
    first.stop()
    wait_until(lambda: second.client.platform().active, 10)


def test_an_emptied_redis_is_a_fresh_start_and_said(platform, reference, sample):
    platform.register(profile=reference)
    monitor = platform.monitor()
    platform.send(sample(300))
    wait_until(lambda: is_read(platform, 300))
    platform.redis.flushall()
    wait_until(lambda: "begin afresh" in monitor.log.read_text())
    wait_until(lambda: monitor.client.platform().active)
    platform.send(sample(500))
    wait_until(lambda: rows_of(monitor) == 500)


@pytest.fixture
def entries(platform):
    entries = Entries(platform.redis)
    entries.rewind()
    return entries


def test_what_the_stream_dropped_unread_is_counted_once(platform, entries):
    for _ in range(10):
        platform.send(BLANK)
    assert len(entries.read(3, 10)) == 3
    platform.redis.xtrim(STREAM, maxlen=2, approximate=False)
    assert entries.skip_lost() == 5
    assert entries.skip_lost() == 0
    assert len(entries.read(10, 10)) == 2
    assert entries.skip_lost() == 0
    assert entries.lag() == 0


def test_a_dropped_entry_that_was_read_is_not_waited_for(platform, entries):
    for _ in range(4):
        platform.send(BLANK)
    found = entries.read(10, 10)
    assert len(found) == 4
    platform.redis.xtrim(STREAM, maxlen=1, approximate=False)
    entries.rewind()
    again = entries.read(10, 10)
    assert [text is None for _, text in again] == [True, True, True, False]


def test_a_summary_that_cant_be_read_harms_no_other(platform, reference, sample):
    platform.register(profile=reference)
    monitor = platform.monitor()
    platform.redis.xadd(STREAM, {"summary": "{}"})
    platform.redis.xadd(STREAM, {"other": "x"})
    platform.send(sample(500))
    wait_until(lambda: rows_of(monitor) == 500)
    assert platform.redis.xpending(STREAM, GROUP)["pending"] == 0
