"""Cron's five fields: minute, hour, day of month, month, day of week.

Grammar and day rule are those of Vixie cron, crontab(5): numbers, names, ranges, lists, steps and
``@daily``-style aliases; where both day fields are restricted, either may match, and where one of
them begins with ``*``, both must.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Self

from utils.training.job_queue.errors import InvalidCronError

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SUNDAY_AS_SEVEN = 7


@dataclass(frozen=True)
class _Field:
    """One field's name, range and the words that stand for its numbers."""

    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """The field's grammar in words."""
        names = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
        return (
            f"numbers {self.lowest}-{self.highest}{names}, ranges (a-b), lists (a,b), "
            "steps (*/n, a-b/n) and * are allowed"
        )

    def parse(self, text: str) -> frozenset[int]:
        """The set of numbers that a field's text stands for."""
        try:
            values = frozenset(number for item in text.split(",") for number in self._item(item))
        except ValueError as error:
            raise InvalidCronError(
                f"The {self.name} field of a cron expression can't be '{text}': {self.allowed}."
            ) from error
        return values

    def _item(self, item: str) -> range:
        span, slash, step_text = item.partition("/")
        step = self._digits(step_text) if slash else 1
        first_text, dash, last_text = span.partition("-")
        if span == "*":
            # The seventh day is Sunday again: a star means seven days, not eight.
            first, last = self.lowest, 6 if self.highest == _SUNDAY_AS_SEVEN else self.highest
        elif dash:
            first, last = self._number(first_text), self._number(last_text)
            if last == 0 and self.highest == _SUNDAY_AS_SEVEN and last_text in self.names:
                last = _SUNDAY_AS_SEVEN
        else:
            first = self._number(first_text)
            last = self.highest if slash else first
        if step < 1 or first > last:
            raise ValueError(item)
        return range(first, last + 1, step)

    def _number(self, text: str) -> int:
        if text in self.names:
            return self.names.index(text) + self.lowest
        number = self._digits(text)
        if not self.lowest <= number <= self.highest:
            raise ValueError(text)
        return number

    @staticmethod
    def _digits(text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            raise ValueError(text)
        return int(text)


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day-of-month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day-of-week", 0, _SUNDAY_AS_SEVEN, _DAYS),
)


@dataclass(frozen=True)
class CronExpression:
    """A parsed expression: which minutes of which days.

    ``days_of_week`` counts from Sunday = 0. ``follows_clock`` is true where the minute or the hour
    begins with ``*``: such a job runs whenever the local clock shows a matching time, and is not
    moved or held back when the clock is changed.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days_of_month: frozenset[int]
    months: frozenset[int]
    days_of_week: frozenset[int]
    needs_both_days: bool
    follows_clock: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an expression.

        Raises:
            InvalidCronError: it has not five fields, a field is not understood (the message names
                it), or no day of any year matches.
        """
        if not isinstance(text, str):
            raise InvalidCronError(
                f"A cron expression can't be {text!r}: give text, such as '0 2 * * *'."
            )
        fields = _ALIASES.get(text.strip().lower(), text.lower()).split()
        if len(fields) != len(_FIELDS):
            raise InvalidCronError(
                f"A cron expression can't be '{text}': give five fields (minute, hour, "
                f"day-of-month, month, day-of-week) or one of {', '.join(_ALIASES)}."
            )
        minutes, hours, days, months, weekdays = (
            field.parse(given) for field, given in zip(_FIELDS, fields, strict=True)
        )
        expression = cls(
            text=text,
            minutes=tuple(sorted(minutes)),
            hours=tuple(sorted(hours)),
            days_of_month=days,
            months=months,
            days_of_week=frozenset(day % 7 for day in weekdays),
            needs_both_days=fields[2].startswith("*") or fields[4].startswith("*"),
            follows_clock=fields[0].startswith("*") or fields[1].startswith("*"),
        )
        expression._check_that_it_fires()
        return expression

    def matches_day(self, day: date) -> bool:
        """Whether the expression runs on this calendar day at all."""
        if day.month not in self.months:
            return False
        by_month = day.day in self.days_of_month
        by_week = day.isoweekday() % 7 in self.days_of_week
        return (by_month and by_week) if self.needs_both_days else (by_month or by_week)

    def _check_that_it_fires(self) -> None:
        # Every date, 29 February included, falls on every day of the week in the calendar's cycle
        # of 400 years, so only a day that its months never have can keep a job from firing.
        longest = max(_LONGEST_MONTHS[month - 1] for month in self.months)
        if self.needs_both_days and min(self.days_of_month) > longest:
            raise InvalidCronError(
                f"The cron expression '{self.text}' never fires: the day-of-month field begins at "
                f"{min(self.days_of_month)}, and the longest month it names has {longest} days."
            )
