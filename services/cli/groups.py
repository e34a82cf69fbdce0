"""Commands and groups of them, with the help that people read."""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command whose docstring is its help: prose fills the width, examples keep their lines."""

    def __init__(self, *args: Any, help: str | None = None, **values: Any) -> None:  # noqa: A002 - Typer's name for it
        paragraphs = (help or "").split("\n\n")
        super().__init__(*args, help="\n\n".join(map(_flowing, paragraphs)), **values)

    def get_params(self, ctx: Any) -> Any:
        """The parameters as the help shows them."""
        return _with_plain_switches(super().get_params(ctx))


class Group(TyperGroup):
    """A group of such commands."""

    def get_params(self, ctx: Any) -> Any:
        """The parameters as the help shows them."""
        return _with_plain_switches(super().get_params(ctx))


class ListByDefault(Group):
    """``trainctl models digits`` is ``trainctl models list digits``."""

    default = "list"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default's name where no command's stands."""
        if not args or self._is_for_default(args[0], ctx):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def _is_for_default(self, word: str, ctx: Any) -> bool:
        if word in self.commands or word in ctx.help_option_names:
            return False
        takes_words = any(isinstance(p, TyperArgument) for p in self.commands[self.default].params)
        return takes_words or word.startswith("-")


def _flowing(paragraph: str) -> str:
    return paragraph if paragraph.startswith("$ ") else " ".join(paragraph.split())


def _with_plain_switches(parameters: list[Any]) -> list[Any]:
    """Without the type behind a switch, which looks as if it took a value."""
    for parameter in parameters:
        if getattr(parameter, "is_bool_flag", False):
            parameter.metavar = ""
    return parameters
