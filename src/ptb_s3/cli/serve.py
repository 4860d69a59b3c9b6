"""``ptb-s3 serve``: run a local S3 storage for trying a bot, until Ctrl-C.

It listens on the loopback interface only, and reports to nobody. The lines of ``.env`` that it
prints, or writes, are told when the storage can be used, and not before: who waits for the file
finds the storage ready.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ptb_s3.cli import _opened, _output
from ptb_s3.cli._options import Json
from ptb_s3.errors import StorageUnavailableError

if TYPE_CHECKING:
    from ptb_s3.cli._serve.folder import Settings
    from ptb_s3.cli._server_process import EmbeddedServer

DEFAULT_FOLDER = Path("ptb-s3-storage")
_LAST_S3_PORT = 55_535
"""Highest port of the S3 API: SeaweedFS's gRPC port is 10,000 above it."""


def serve(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the storage, made if need be.")
    ] = DEFAULT_FOLDER,
    *,
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=_LAST_S3_PORT,
            help="Port of the S3 API; if not given, as before, and at first one from 8333 on.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Run a local S3 storage until Ctrl-C, and print the .env lines for a bot.

    With --env-file FILE, which the other commands read, they are written there, and never over
    other settings.

    A second call with the same DIR goes on.
    """
    from ptb_s3._environment import refuse_proxy  # noqa: PLC0415 - the storage, which would slow down --help
    from ptb_s3.cli import _env_file  # noqa: PLC0415 - as above
    from ptb_s3.cli._ports import HOST  # noqa: PLC0415 - as above
    from ptb_s3.cli._seaweedfs import Site, lasting_seaweedfs, weed_program  # noqa: PLC0415 - as above
    from ptb_s3.cli._serve import bucket, env_file  # noqa: PLC0415 - as above
    from ptb_s3.cli._serve.folder import claimed, read_settings, settled, store  # noqa: PLC0415 - as above

    weed_program()  # whose error comes before anything is made, as does the next one
    refuse_proxy(HOST)
    file = _asked_for(ctx)
    if file and read_settings(folder) is None:
        env_file.is_written(file, None)
    with _terminable(), claimed(folder) as lock:
        settings = settled(read_settings(folder), port)
        to_write = file if file and not env_file.is_written(file, settings.variables) else None
        data = store(folder, settings)
        site = Site(data, settings.ports, settings.access_key, settings.secret_key, lock)
        _output.note(f"SeaweedFS is starting in {folder} ...")
        with lasting_seaweedfs(site) as server:
            bucket.prepare(settings)
            if to_write:
                _env_file.write(to_write, settings.variables)
            with _until_interrupted(server):
                _tell(settings, folder, file, as_json=json)
    _output.note(f"SeaweedFS has ended. ptb-s3 serve {folder} goes on from here.")


def _asked_for(ctx: typer.Context) -> Path | None:
    """Return the file of ``--env-file``, or None where the option was not given."""
    source = ctx.find_root().get_parameter_source("env_file")
    if source is None or source.name != "COMMANDLINE":
        return None
    return Path(_opened.env_file.get())


def _tell(settings: Settings, folder: Path, file: Path | None, *, as_json: bool) -> None:
    """Say that the storage is ready, and print the variables where no file has them."""
    from ptb_s3._environment import overriding  # noqa: PLC0415 - as in `serve`
    from ptb_s3.cli import _env_file  # noqa: PLC0415 - as in `serve`

    printed = {} if file else settings.variables
    if as_json:
        where = {"folder": str(folder), "endpoint_url": settings.endpoint_url}
        told = {"env_file": str(file) if file else None, "variables": printed}
        _output.result_json(where | told)
    else:
        for line in _env_file.lines(printed):
            _output.result(line)
    if hidden := overriding(settings.variables):
        _output.warning(
            f"This shell sets {', '.join(hidden)} to something else, which wins over the file. "
            "Unset that where the bot runs."
        )
    settled = f"{file} has the settings" if file else "The lines above are the settings"
    _output.note(
        f"Ready: {settings.endpoint_url}, for this machine only. {settled} of a bot. Data and key "
        f"lie side by side in {folder}: for trying things out. Ctrl-C ends it."
    )


@contextmanager
def _until_interrupted(server: EmbeddedServer) -> Iterator[None]:
    """Wait, after the body of a `with`, for Ctrl-C or SIGTERM, which is the regular end of both.

    Raises:
        StorageUnavailableError: The server ended without that.
    """
    try:
        yield
        server.process.wait()
    except KeyboardInterrupt:
        _output.note("SeaweedFS is ending ...")
        return
    raise StorageUnavailableError(f"SeaweedFS ended by itself. Start it again. {server.log()}")


@contextmanager
def _terminable() -> Iterator[None]:
    """Have SIGTERM, by which service managers and ``kill`` end a program, do as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
