"""The servers that infra/servers.sh runs: where each is from, and how it is started.

The table in docs/providers.md repeats names and versions; `tests/unit/test_providers.py` compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from tests import servers
from tests.providers.sources import NotToBeHadError, classpath, crate, go_program, wheel
from tests.servers import S3Server
from tests.servers._process import HOST, Command, Launch, Place, serving

from ptb_s3.errors import PersistenceError


class Provider(NamedTuple):
    """A server of the package registries.

    Attributes:
        name: As people know it.
        version: Which is run.
        running: Gets it, starts it, and ends it.
        seen: Whether that table says what came of it; it is dated there.
    """

    name: str
    version: str
    running: Callable[[], AbstractContextManager[S3Server]]
    seen: bool = True


@contextmanager
def _chosen(choice: str) -> Iterator[S3Server]:
    """Start one that the tests run on, too."""
    try:
        with servers.running(choice, {}) as server:
            yield server
    except pytest.UsageError as exc:
        raise NotToBeHadError(str(exc)) from exc


def _tested(choice: str) -> Callable[[], AbstractContextManager[S3Server]]:
    return lambda: _chosen(choice)


@contextmanager
def _versitygw() -> Iterator[S3Server]:
    go_program("versitygw", "github.com/versity/versitygw/cmd/versitygw", "1.8.0")
    with _chosen("versitygw") as server:
        yield server


def _ministack(folder: Path) -> Launch:
    program = wheel(folder, "ministack", "1.5.33", "ministack")
    return lambda place: Command(
        [program],
        {"GATEWAY_PORT": str(place.port), "BIND_HOST": HOST},  # the default is every interface
    )


def _rclone(_: Path) -> Launch:
    program = go_program("rclone", "github.com/rclone/rclone", "1.76.0")
    return lambda place: Command(
        [
            *(program, "serve", "s3", "--addr", place.address),
            *("--auth-key", f"{place.access_key},{place.secret_key}"),
            *("--vfs-cache-mode", "off", "--config", place.file("rclone.conf", "")),
            place.subfolder("data"),
        ]
    )


def _gofakes3(_: Path) -> Launch:
    program = go_program("gofakes3", "github.com/johannesboyne/gofakes3/cmd/gofakes3", "1.2.0")
    return lambda place: Command([program, "-host", place.address, "-backend", "memory"])


def _s3proxy(_: Path) -> Launch:
    jars = classpath("org.gaul:s3proxy:3.1.0")

    def launch(place: Place) -> Command:
        settings = {
            "s3proxy.endpoint": f"http://{place.address}",
            "s3proxy.authorization": "aws-v2-or-v4",
            "s3proxy.identity": place.access_key,
            "s3proxy.credential": place.secret_key,
            "jclouds.provider": "filesystem-nio2",
            "jclouds.filesystem.basedir": place.subfolder("data"),
        }
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        return _java(place, jars, "org.gaul.s3proxy.Main", "--properties", place.file("conf", text))

    return launch


def _s3mock(_: Path) -> Launch:
    # The logging that it is built against is older than the one it comes with.
    jars = classpath("com.adobe.testing:s3mock:5.2.0", "org.slf4j:slf4j-api:2.0.18")

    def launch(place: Place) -> Command:
        return _java(
            place,
            jars,
            "com.adobe.testing.s3mock.S3MockApplication",
            f"--server.address={HOST}",
            f"--server.port={place.other_port}",  # of TLS
            f"--http.port={place.port}",
            "--vectors.http.port=0",
            "--vectors.https.port=0",
            "--com.adobe.testing.s3mock.max-payload-size=64MB",
        )

    return launch


def _java(place: Place, jars: str, main: str, *arguments: str) -> Command:
    options = ("-Xmx512m", f"-Djava.io.tmpdir={place.folder}", f"-Duser.home={place.folder}")
    quiet = place.file("logback.xml", '<configuration><root level="WARN"/></configuration>')
    return Command(
        ["java", *options, f"-Dlogback.configurationFile={quiet}", "-cp", jars, main, *arguments]
    )


def _s3s_fs(_: Path) -> Launch:
    program = crate("s3s-fs", "0.14.1", "--features", "binary")
    return lambda place: Command(
        [
            *(program, "--host", HOST, "--port", str(place.port)),
            *("--access-key", place.access_key, "--secret-key", place.secret_key),
            place.subfolder("data"),
        ]
    )


def _got(
    name: str, obtain: Callable[[Path], Launch], ready: str = "/"
) -> Callable[[], AbstractContextManager[S3Server]]:
    @contextmanager
    def running() -> Iterator[S3Server]:
        with TemporaryDirectory(prefix="ptb-s3-provider-") as folder:
            launch = obtain(Path(folder) / "program")
            try:
                with serving(name, launch, ready) as server:
                    yield server
            except PersistenceError as exc:
                raise NotToBeHadError(str(exc)) from exc

    return running


PROVIDERS = (
    Provider("SeaweedFS", "4.48", _tested("seaweedfs")),
    Provider("moto", "5.2.5", _tested("moto")),
    Provider("ministack", "1.5.33", _got("ministack", _ministack)),
    Provider("versitygw", "1.8.0", _versitygw),
    Provider("rclone", "1.76.0", _got("rclone", _rclone)),
    Provider("gofakes3", "1.2.0", _got("gofakes3", _gofakes3)),
    Provider("s3proxy", "3.1.0", _got("s3proxy", _s3proxy)),
    Provider("S3Mock", "5.2.0", _got("S3Mock", _s3mock)),
    Provider("s3s-fs", "0.14.1", _got("s3s-fs", _s3s_fs)),
    Provider("MinIO", "RELEASE.2025-10-15T17-29-55Z", _tested("minio"), seen=False),
)
