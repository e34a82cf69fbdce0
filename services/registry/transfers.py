"""Room for artifacts on their way: each holds a thread of the server for as long as it lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from flask import Response, request
from werkzeug.exceptions import ClientDisconnected

from utils.service.places import Places
from utils.service.problems import ProblemError

SILENT_SECONDS = 60.0  # after which the other end counts as gone


class Transfers:
    """So many at once, and no more: all else is answered beside them.

    Args:
        most: how many there may be at once.
    """

    def __init__(self, most: int) -> None:
        refusal = "Too many artifacts are on their way here; try again soon."
        self._places = Places(most, refusal)

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Room for an upload.

        Raises:
            ProblemError: 503, there are too many; or 408, no byte has come for a minute.
        """
        self._enter()
        try:
            yield
        except (TimeoutError, ClientDisconnected) as error:
            if TimeoutError not in (type(error), type(error.__context__)):
                raise
            raise ProblemError(
                HTTPStatus.REQUEST_TIMEOUT,
                f"No byte came for {SILENT_SECONDS:g} s; go on with what is missing.",
            ) from error
        finally:
            self._places.leave()

    def leaving(self, response: Response) -> Response:
        """Room for a download, until its answer is closed.

        Raises:
            ProblemError: 503, there are too many.
        """
        self._enter()
        response.call_on_close(self._places.leave)
        return response

    def _enter(self) -> None:
        self._places.enter()
        connection = request.environ.get("gunicorn.socket")
        if connection is not None:  # gunicorn takes the limit off before the next request
            connection.settimeout(SILENT_SECONDS)
