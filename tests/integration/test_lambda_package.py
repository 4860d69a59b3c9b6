"""What is uploaded to AWS Lambda: small enough, whole, and made for the machine that it names.

`sh infra/lambda_zip.sh` builds both packages, which takes the network; `infra/test.sh` calls it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.integration.hosts import EXAMPLE, INFRA
from tests.servers import PROJECT

ZIPS = PROJECT / ".lambda"
LIMIT = 25_000_000
"""Bytes that a package may have, zipped. AWS's own limit for an upload is 50 MB."""
ELF_MACHINE = {"x86_64": 62, "arm64": 183}
"""Processor that a shared library is for, bytes 18 and 19 of an ELF file (System V ABI)."""
WHEEL_MACHINE = {"x86_64": "x86_64", "arm64": "aarch64"}
"""The same as tags of wheels name it."""
LEFT_OUT = ("ptb_s3/cli/",)


@cache
def package(architecture: str) -> Any:
    """Return the package, open. In CI it has to be there, made of this very code."""
    path = ZIPS / f"{architecture}.zip"
    fault = "is not built" if not path.is_file() else ""
    opened = zipfile.ZipFile(path) if path.is_file() else None
    if opened is not None and _code_of(opened) != _our_code():
        fault = "is of other code"
    if fault:
        fault = f"Lambda's package {fault}: sh infra/lambda_zip.sh builds it"
        if os.environ.get("CI") == "true":
            pytest.fail(fault)
        pytest.skip(f"optional check: {fault}")
    return opened


def _code_of(opened: zipfile.ZipFile) -> dict[str, bytes]:
    names = [name for name in opened.namelist() if re.match(r"(ptb_s3|shop)/.*\.py$", name)]
    return {name: opened.read(name) for name in [*names, "handler.py"]}


def _our_code() -> dict[str, bytes]:
    source = PROJECT / "src"
    paths = {str(path.relative_to(source)): path for path in source.glob("ptb_s3/**/*.py")}
    paths |= {str(path.relative_to(EXAMPLE)): path for path in EXAMPLE.rglob("*.py")}
    return {name: path.read_bytes() for name, path in paths.items() if not _is_left_out(name)}


def _is_left_out(name: str) -> bool:
    return name.startswith(LEFT_OUT)


def distributions(opened: Any) -> set[str]:
    return {name.partition("/")[0] for name in opened.namelist() if ".dist-info/" in name}


def machines(opened: Any) -> Iterator[tuple[str, int]]:
    """Give the shared libraries of a package, with the processor that each is for."""
    for name in opened.namelist():
        if re.search(r"\.so[.\d]*$", name):
            with opened.open(name) as file:
                head = file.read(20)
            assert head[:4] == b"\x7fELF", name
            yield name, int.from_bytes(head[18:20], "little")


both = pytest.mark.parametrize("architecture", ["x86_64", "arm64"])


@both
def test_the_package_is_small(architecture: str) -> None:
    """A cold start loads it, and each deploy uploads it."""
    package(architecture)
    size = (ZIPS / f"{architecture}.zip").stat().st_size
    print(f"{architecture}: {size:,} bytes")  # noqa: T201 - pytest -s, for the README
    assert 10_000_000 < size < LIMIT


@both
def test_all_of_it_is_for_one_machine(architecture: str) -> None:
    """Each shared library and each wheel, whatever machine has built it."""
    opened = package(architecture)
    found = dict(machines(opened))
    assert len(found) > 10
    assert set(found.values()) == {ELF_MACHINE[architecture]}
    for name in opened.namelist():
        if name.endswith(".dist-info/WHEEL"):
            tags = re.findall(r"^Tag: (\S+)$", opened.read(name).decode(), re.MULTILINE)
            other = rf"-(any|\w*{WHEEL_MACHINE[architecture]}(\.\S+)?)$"
            assert tags, name
            assert all(re.search(other, tag) for tag in tags), name


def test_both_packages_have_the_same_in_them() -> None:
    """What was imported on one machine is there for the other as well."""
    here, there = package("x86_64"), package("arm64")
    assert distributions(here) == distributions(there)
    modules = [{name for name in one.namelist() if name.endswith(".py")} for one in (here, there)]
    assert modules[0] == modules[1]


@both
def test_nothing_is_in_it_that_lambda_does_not_use(architecture: str) -> None:
    """AWS's 400 other services, the second of zstandard's backends, sources of extensions."""
    names = package(architecture).namelist()
    services = {name.split("/")[2] for name in names if name.startswith("botocore/data/")}
    assert {name for name in services if "." not in name} - {""} == {
        *("s3", "sts", "kms", "sso", "sso-oidc"),
    }
    assert not [name for name in names if re.search(r"zstandard/_cffi|\.(pyi|pyx|pxd|c|h)$", name)]
    assert not [name for name in names if _is_left_out(name)]
    assert any(re.search(r"ptb_s3/__pycache__/persistence\.\S+\.pyc$", name) for name in names)


# The import ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the package as Lambda unpacks it, where this machine can import it."""
    folder = tmp_path_factory.mktemp("function")
    opened = package("x86_64")
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("optional check: the package is for Linux on x86_64")
    compiled = {f"cpython-{sys.version_info.major}{sys.version_info.minor}"}
    versions = set(re.findall(r"backend_c\.(cpython-\d+)-", "\n".join(opened.namelist())))
    if versions != compiled:
        pytest.skip(f"optional check: the package is for {versions}")
    opened.extractall(folder)
    return folder


def imported(folder: Path) -> subprocess.CompletedProcess[str]:
    """Import the handler with nothing but the package and Python's own library."""
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-I", "-S", INFRA / "lambda" / "import_handler.py", folder],
        cwd=folder,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_handler_is_imported_from_the_package_alone(unpacked: Path) -> None:
    """To its end, with no package of this environment."""
    ran = imported(unpacked)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("missing", ["aiobotocore", "shop/texts.py", "telegram/ext"])
def test_what_is_missing_would_be_missed(unpacked: Path, missing: str, tmp_path: Path) -> None:
    """Or the test above would find everything in this environment."""
    taken = unpacked / missing
    shutil.move(taken, tmp_path / "taken")
    ran = imported(unpacked)
    shutil.move(tmp_path / "taken", taken)
    assert ran.returncode == 1
    assert ran.stderr.startswith("The handler cannot be imported: No module named ")
