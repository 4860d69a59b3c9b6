"""Typer app: the commands, in the order of ``--help``, and the exit code of an error.

A new command is a module beside this one, and a line at the end.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ptb_s3.cli import (
    _opened,
    _output,
    begin_anew,
    compact,
    copy,
    demo,
    diff,
    doctor,
    export,
    forget,
    history,
    import_,
    init,
    jobs,
    keys,
    prune,
    repair,
    report,
    restore,
    rotate,
    serve,
    show,
    status,
    verify,
)
from ptb_s3.errors import PersistenceError

_ENV_FILE = "--env-file"
INTERRUPTED = 130  # 128 + SIGINT, as shells have it (POSIX, "Exit Status for Commands")


class _Commands(TyperGroup):
    """Group of commands: turns an expected error into its text and exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - as below
        """Take ``--env-file`` wherever it stands, since every command has it."""
        return super().parse_args(ctx, _env_file_first(args))

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - its type moved between Typer's versions
        try:
            return super().invoke(ctx)
        except PersistenceError as error:
            _output.failure(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            _output.note("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None


def _env_file_first(args: list[str]) -> list[str]:
    """Move ``--env-file`` and its value to the front of the arguments, up to ``--``."""
    for at, argument in enumerate(args):
        if argument == "--":
            break
        if argument == _ENV_FILE and at + 1 < len(args):
            return [argument, args[at + 1], *args[:at], *args[at + 2 :]]
        if argument.startswith(f"{_ENV_FILE}="):
            return [argument, *args[:at], *args[at + 1 :]]
    return args


app = typer.Typer(
    name="ptb-s3",
    cls=_Commands,
    help="Encrypted S3 persistence for python-telegram-bot.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they show local variables, and one of those is a key
)


def _show_version(value: bool) -> None:  # noqa: FBT001 - Typer calls it with the option's value
    """Print the version and exit, if that is asked for."""
    if value:
        _output.result(f"ptb-s3 {version('ptb-s3')}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    env_file: Annotated[
        str, typer.Option(help="File of further variables, under those of the environment.")
    ] = ".env",
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    _opened.env_file.set(env_file)


app.add_typer(keys.app, name="keys")
app.command()(demo.demo)
app.command()(serve.serve)
app.command()(init.init)
app.command()(doctor.doctor)
app.command()(status.status)
app.command()(history.history)
app.command()(show.show)
app.command()(diff.diff)
app.command()(jobs.jobs)
app.command()(report.report)
app.command()(verify.verify)
app.command()(repair.repair)
app.command("begin-anew")(begin_anew.begin_anew)
app.command()(restore.restore)
app.command()(rotate.rotate)
app.command()(compact.compact)
app.command()(prune.prune)
# An id may be negative, and must not be taken for an option.
app.command(context_settings={"ignore_unknown_options": True})(forget.forget)
app.command("import")(import_.import_)
app.command()(export.export)
app.command()(copy.copy)
