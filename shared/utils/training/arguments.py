"""What calls say of an argument of the wrong kind, instead of failing somewhere inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import Parameter, signature
from typing import Any, TypeVar

from utils.training.errors import InvalidArgumentError, UnknownNameError, WrongTypeError

Class = TypeVar("Class", bound=type)

_LONGEST_SHOWN = 60


def require_instance(
    name: str, value: Any, kinds: type | tuple[type, ...], allowed: str, advice: str = ""
) -> None:
    """Refuse an argument that is no instance of ``kinds``.

    Args:
        name: what the message calls the argument.
        value: what was given.
        kinds: what isinstance takes.
        allowed: these kinds in words, such as ``"an nn.Module"``.
        advice: what to do, where that does not follow.

    Raises:
        WrongTypeError: a TypeError.
    """
    if not isinstance(value, kinds):
        raise WrongTypeError(name, described(value), allowed, advice)


def require_methods(name: str, value: Any, methods: Iterable[str], allowed: str) -> None:
    """Refuse an argument that is no object with these methods, or is a class of such objects.

    Raises:
        WrongTypeError: a TypeError.
    """
    if isinstance(value, type) or not all(callable(getattr(value, m, None)) for m in methods):
        raise WrongTypeError(name, described(value), allowed)


def require_flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False: text such as ``"no"`` would count as True.

    Raises:
        InvalidArgumentError: a ValueError.
    """
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{name} is {described(value)}, allowed is True or False.")


def require_name(name: str, value: Any, example: str) -> None:
    """Refuse what is no text, or empty, as a name to register under.

    Raises:
        WrongTypeError: a TypeError.
    """
    if not isinstance(value, str) or not value:
        raise WrongTypeError(name, described(value), "a name", f"write {example}")


def is_defined_again(known: Any, new: Any) -> bool:
    """Tell whether one definition was run twice, as a notebook's cell is."""
    places = [(getattr(d, "__module__", d), getattr(d, "__qualname__", d)) for d in (known, new)]
    return places[0] == places[1]


def is_whole(value: Any, least: int) -> bool:
    """Tell a whole number from ``least`` up from anything else; True is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def described(value: Any) -> str:
    """Name a value as a message shows it: itself where it is short, else its kind."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, str | bytes | int | float):
        text = repr(value)
        return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
    return f"a {type(value).__name__}"


def with_known_fields(cls: Class) -> Class:
    """Decorate a dataclass, so that a misspelt field is answered with the nearest one.

    Raises:
        UnknownNameError: a ValueError, from the constructor.
    """
    construct: Callable[..., None] = cls.__init__  # type: ignore[misc]
    known = {
        name
        for name, parameter in signature(construct).parameters.items()
        if name != "self" and parameter.kind is not Parameter.VAR_KEYWORD
    }

    @wraps(construct)
    def init(self: Any, *values: Any, **fields: Any) -> None:
        unknown = fields.keys() - known
        if unknown:
            raise UnknownNameError(f"field of {cls.__name__}", min(unknown), known)
        construct(self, *values, **fields)

    cls.__init__ = init  # type: ignore[misc]
    return cls
