"""``trainctl``: the platform from a terminal."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from services.cli.commands import jobs, models, observing, platform, schedules, triggers
from services.cli.errors import told
from services.cli.groups import Group
from utils.training import __version__

_HELP = (
    "Run the continuous-training platform, and speak to it.\n\n"
    "`trainctl up` starts everything on this machine. The other commands speak to the stack in "
    "--folder, or to services elsewhere: TRAINING_REGISTRY_URL, TRAINING_SCHEDULER_URL, "
    "TRAINING_SERVING_URL and TRAINING_MONITOR_URL, with the token in TRAINING_TOKEN_FILE."
)
_EXIT_CODES = (
    "Exit codes: 0 done; 1 refused or failed, the reason is on standard error; 2 wrong usage; "
    "3 nobody answered; 4 the job that was waited for did not complete; 130 interrupted."
)


class _Root(Group):
    """The root, where every error becomes a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run what was asked for."""
        with told():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Root,
    name="trainctl",
    help=_HELP,
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (platform, jobs, models, schedules, triggers, observing):
    commands.add_to(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"{__version__}\n")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Every command stands by itself; here is only what concerns none of them."""
