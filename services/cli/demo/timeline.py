"""What happened when, from the first second on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Something that happened; ``seconds`` are since the start, ``mark`` its name in the picture.

    An event without a mark stands in the table only.
    """

    seconds: float
    what: str
    mark: str | None = None


class Timeline:
    """Notes events, and shows each as it happens.

    Args:
        show: takes a line.
        clock: Unix time in seconds.
    """

    def __init__(self, show: Callable[[str], None], clock: Callable[[], float] = time.time) -> None:
        self.events: list[Event] = []
        self._show = show
        self._clock = clock
        self.started = clock()

    def note(self, what: str, *, mark: str | None = None, at: float | None = None) -> Event:
        """Note an event, as of now or as of a Unix time."""
        event = Event((self._clock() if at is None else at) - self.started, what, mark)
        self.events.append(event)
        self._show(line_of(event))
        return event

    def seconds(self) -> float:
        """Since the start."""
        return self._clock() - self.started

    def ordered(self) -> list[Event]:
        """All events by their time."""
        return sorted(self.events, key=lambda event: event.seconds)


def line_of(event: Event) -> str:
    """An event as a line of text."""
    return f"{event.seconds:6.1f} s  {event.what}"
