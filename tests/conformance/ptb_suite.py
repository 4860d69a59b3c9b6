"""PTB's own test suite, from the source distribution of the PTB that is installed.

It is not ours to keep in this repository, so it is downloaded once, by pip, into a cache folder.
`python tests/conformance/ptb_suite.py` does that ahead of the tests, and prints where it lies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "python-telegram-bot"
# All that is unpacked. Without its src/, the suite can only test the PTB that is installed.
_PARTS = ("pyproject.toml", "tests")
# Seconds: a megabyte, and the build backend that pip fetches to read its metadata.
_PATIENCE = 300


class SuiteNotToBeHadError(Exception):
    """PTB's suite could not be downloaded. Says why; the tests that need it fail."""


def ptb_suite() -> Path:
    """Return the folder with the suite of the installed PTB; download it if it is not there."""
    wanted = version(PACKAGE)
    folder = _cache() / wanted
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            unpacked = _unpack(_download(wanted, Path(scratch)), Path(scratch))
            # In one step, so that the folder is never there in part.
            shutil.move(unpacked, folder)
    return folder


def _cache() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "ptb-s3" / "ptb-tests"


def _download(wanted: str, folder: Path) -> Path:
    """Download the source distribution, as whatever index pip is set up for has it."""
    if find_spec("pip") is None:
        raise SuiteNotToBeHadError(
            f"pip is needed to download PTB's test suite, and this environment ({sys.prefix}) has "
            "none. Install it: uv pip install pip"
        )
    command = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"),
        *("--no-deps", "--no-binary", ":all:", "--dest", str(folder), f"{PACKAGE}=={wanted}"),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - pip, of this environment
            command, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise SuiteNotToBeHadError(
            f"PTB's test suite could not be downloaded within {_PATIENCE} s."
        ) from None
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode or len(archives) != 1:
        raise SuiteNotToBeHadError(
            f"PTB's test suite could not be downloaded. Mend the network or pip's settings, or put "
            f"the suite's folder into {_cache() / wanted}. pip said:\n{done.stderr.strip()}"
        )
    return archives[0]


def _unpack(archive: Path, folder: Path) -> Path:
    """Unpack what is needed. The filter refuses links and paths that lead out of the folder."""
    with tarfile.open(archive) as packed:
        wanted = [member for member in packed if _part(member.name) in _PARTS]
        packed.extractall(folder, wanted, filter="data")
    root = folder / archive.name.removesuffix(".tar.gz")
    if not all((root / part).exists() for part in _PARTS):
        raise SuiteNotToBeHadError(f"{archive.name} does not hold {' and '.join(_PARTS)}.")
    return root


def _part(name: str) -> str:
    return name.split("/")[1] if "/" in name else ""


if __name__ == "__main__":
    try:
        print(ptb_suite())  # noqa: T201 - a program
    except SuiteNotToBeHadError as exc:
        sys.exit(str(exc))
