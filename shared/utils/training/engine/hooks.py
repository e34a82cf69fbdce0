"""Lifecycle hooks: any subset of six methods, called in the order they were given."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

from utils.training.arguments import described
from utils.training.errors import WrongTypeError

logger = logging.getLogger(__name__)

EVENTS = (
    "on_training_start",
    "on_epoch_start",
    "on_batch_end",
    "on_validation_end",
    "on_epoch_end",
    "on_training_end",
)


class TrainingHooks(Protocol):
    """What a Trainer calls on its way; a hooks object may leave any of these out.

    An exception in a hook ends the training; a note on it names the hook. ``on_batch_end`` makes
    the Trainer read each batch's loss from the device, so leave it out where speed matters.
    """

    def on_training_start(self) -> None:
        """Before the first epoch of this call, a resumed one too."""

    def on_epoch_start(self, epoch: int) -> None:
        """Before an epoch, and again where a resumed run continues in the middle of one."""

    def on_batch_end(self, batch_idx: int, loss: float) -> None:
        """After a micro-batch, with its mean loss."""

    def on_validation_end(self, metrics: dict[str, float]) -> None:
        """After a validation pass, with ``val_loss`` and ``val_accuracy``."""

    def on_epoch_end(self, epoch: int, metrics: dict[str, float]) -> None:
        """After an epoch, with its training and validation metrics, before its checkpoint."""

    def on_training_end(self) -> None:
        """After the last epoch; not after an interruption or an error."""


class HookCaller:
    """Calls each event's methods, collected once.

    Args:
        hooks: None, one object, or a list or tuple of objects, each with any of the six methods.

    Raises:
        WrongTypeError: a TypeError; a class was given in place of an object.
    """

    def __init__(self, hooks: Any) -> None:
        given = _as_sequence(hooks)
        for hook in given:
            if isinstance(hook, type):
                advice = f"write {hook.__name__}()"
                raise WrongTypeError("hooks", described(hook), "an object of it", advice)
            _warn_of_unknown_events(hook)
        self._methods: dict[str, list[Callable[..., Any]]] = {
            event: [getattr(hook, event) for hook in given if hasattr(hook, event)]
            for event in EVENTS
        }

    def has(self, event: str) -> bool:
        """True where some hook listens to this event."""
        return bool(self._methods[event])

    def call(self, event: str, *arguments: Any) -> None:
        """Call every hook that listens; what one raises passes on with a note on where."""
        for method in self._methods[event]:
            try:
                method(*arguments)
            except Exception as error:
                name = getattr(method, "__qualname__", repr(method))
                values = ", ".join(repr(argument) for argument in arguments)
                error.add_note(f"Raised by the training hook {name}({values}).")
                raise


def _as_sequence(hooks: Any) -> Sequence[Any]:
    if hooks is None:
        return ()
    return hooks if isinstance(hooks, list | tuple) else (hooks,)


def _warn_of_unknown_events(hook: Any) -> None:
    if not any(name.startswith("on_") for name in dir(hook)):
        logger.warning(
            "hooks is %s without a method that is ever called: hooks are %s.",
            described(hook),
            ", ".join(EVENTS),
        )
    names = (name for name in dir(hook) if name.startswith("on_") and name not in EVENTS)
    for name in names:
        near = get_close_matches(name, EVENTS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f": hooks are {', '.join(EVENTS)}."
        logger.warning("%s.%s is never called%s", type(hook).__name__, name, hint)
