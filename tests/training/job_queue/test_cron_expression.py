from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from utils.training.job_queue import CronExpression, InvalidCronError
from utils.training.job_queue.cron_times import occurrences


def parse(text):
    return CronExpression.parse(text)


@pytest.mark.parametrize(
    ("text", "minutes", "hours"),
    [
        ("0 2 * * *", [0], [2]),
        ("0 */6 * * *", [0], [0, 6, 12, 18]),
        ("*/20 * * * *", [0, 20, 40], list(range(24))),
        ("5,1,3 8-10 * * *", [1, 3, 5], [8, 9, 10]),
        ("10-30/10 1-5/2 * * *", [10, 20, 30], [1, 3, 5]),
        ("50/5 22/1 * * *", [50, 55], [22, 23]),
        ("  7   7 * *  * ", [7], [7]),
        ("@daily", [0], [0]),
        ("@HOURLY", [0], list(range(24))),
    ],
)
def test_minutes_and_hours_are_read(text, minutes, hours):
    expression = parse(text)
    assert (list(expression.minutes), list(expression.hours)) == (minutes, hours)


def test_names_are_numbers_in_any_case():
    expression = parse("0 0 * Jan,mar-MAY sun,tue-thu")
    assert expression.months == {1, 3, 4, 5}
    assert expression.days_of_week == {0, 2, 3, 4}


@pytest.mark.parametrize(
    "text", ["0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "@weekly", "0 0 * * 0,7"]
)
def test_seven_is_sunday(text):
    assert parse(text).days_of_week == {0}


def test_a_week_may_end_on_sunday():
    assert parse("0 0 * * fri-sun").days_of_week == {5, 6, 0}
    assert parse("0 0 * * 5-7").days_of_week == {5, 6, 0}
    assert parse("0 0 * * */2").days_of_week == {0, 2, 4, 6}


def test_either_day_field_may_match_where_both_are_restricted():
    expression = parse("0 0 13 * fri")
    assert expression.matches_day(date(2026, 2, 13))  # Friday the 13th
    assert expression.matches_day(date(2026, 2, 20))  # a Friday
    assert expression.matches_day(date(2026, 3, 13))
    assert not expression.matches_day(date(2026, 2, 14))


def test_both_day_fields_must_match_where_one_begins_with_a_star():
    expression = parse("0 0 */2 * mon")
    assert expression.matches_day(date(2026, 6, 1))  # Monday the 1st
    assert not expression.matches_day(date(2026, 6, 8))  # Monday the 8th
    assert not expression.matches_day(date(2026, 6, 3))  # Wednesday the 3rd


@pytest.mark.parametrize(
    ("text", "field", "given", "allowed"),
    [
        ("60 * * * *", "minute", "60", "0-59"),
        ("0 24 * * *", "hour", "24", "0-23"),
        ("0 0 0 * *", "day-of-month", "0", "1-31"),
        ("0 0 * 13 *", "month", "13", "1-12 or jan-dec"),
        ("0 0 * * 8", "day-of-week", "8", "0-7 or sun-sat"),
        ("0 0 * * mo", "day-of-week", "mo", "sun-sat"),
        ("*/0 * * * *", "minute", "*/0", "steps"),
        ("10-5 * * * *", "minute", "10-5", "ranges"),
        ("1, * * * *", "minute", "1,", "lists"),
        ("-5 * * * *", "minute", "-5", "0-59"),
        ("1-2-3 * * * *", "minute", "1-2-3", "ranges"),
        ("*/x * * * *", "minute", "*/x", "steps"),
        ("² * * * *", "minute", "²", "0-59"),
        ("0 0 L * *", "day-of-month", "l", "1-31"),
        ("**/2 * * * *", "minute", "**/2", "steps"),
    ],
)
def test_a_fault_names_the_field_what_was_given_and_what_is_allowed(text, field, given, allowed):
    with pytest.raises(InvalidCronError) as raised:
        parse(text)
    message = str(raised.value)
    assert f"The {field} field" in message
    assert f"'{given}'" in message
    assert allowed in message
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("text", ["", "* * * *", "0 0 * * * *", "@reboot", "daily"])
def test_five_fields_or_an_alias_are_wanted(text):
    with pytest.raises(InvalidCronError, match=r"five fields .*@daily"):
        parse(text)


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30,31 feb */2"])
def test_an_expression_that_never_fires_is_refused(text):
    with pytest.raises(InvalidCronError, match="never fires"):
        parse(text)


@pytest.mark.parametrize("text", ["0 0 29 2 *", "0 0 30 2 mon", "0 0 31 1,2 *"])
def test_an_expression_that_fires_rarely_is_not(text):
    parse(text)


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused_with_a_sentence(text):
    with suppress(InvalidCronError):
        assert parse(text).minutes


@pytest.mark.parametrize(
    "text", ["*/7 3-5 * * *", "0 0 1,15 * mon", "5 4 * jan sun", "0 12 */3 * 1-5", "0 0 29 2 *"]
)
def test_a_library_agrees_where_no_clock_changes(text):
    start = datetime(2026, 5, 17, 3, 30, tzinfo=UTC)
    ours = list(islice(occurrences(parse(text), ZoneInfo("UTC"), start), 20))
    assert ours == list(islice(CronSim(text, start), 20))
