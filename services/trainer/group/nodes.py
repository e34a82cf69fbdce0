"""The nodes of an attempt as the one that claimed the job sees them: itself alone, or several."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from services.trainer.order import Outcome
from services.trainer.ranks import Size, command


class Group(Protocol):
    """What the one that has claimed the job asks of the nodes that do it."""

    @property
    def is_complete(self) -> bool:
        """True once all nodes have come, and the ranks can be started."""

    @property
    def is_leaving(self) -> bool:
        """True once another node was told to shut down."""

    @property
    def fault(self) -> str | None:
        """Why the attempt can't go on, if it can't: a node did not come, or is lost."""

    @property
    def command(self) -> Sequence[str]:
        """How this node's ranks are started."""

    def await_outcome(self) -> Outcome | None:
        """Return how a rank on another node says that the work ended, if one does soon."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Alone:
    """One node: nobody else has to come, and nobody is lost."""

    is_complete = True
    is_leaving = False
    fault = None

    def __init__(self, size: Size) -> None:
        self.command = command(size)

    def await_outcome(self) -> None:
        """Wait for nobody."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass
