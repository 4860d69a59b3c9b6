"""What takes an interpreter that has imported nothing yet: the cost of imports."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NamedTuple

from tests.benchmarks.setting import BUCKET, Setting

_IMPORTS = """
import importlib, sys, time
begun = time.perf_counter()
import telegram.ext
theirs = time.perf_counter()
importlib.import_module(sys.argv[1])
ours = time.perf_counter()
print(theirs - begun, ours - theirs)
"""
_FIRST_REQUEST = f"""
import asyncio, os, sys, time
from ptb_s3._storage.s3 import S3Store

async def ask():
    store = S3Store({BUCKET!r}, endpoint_url=sys.argv[1])
    begun = time.perf_counter()
    await store.get("nothing")
    print(time.perf_counter() - begun)
    await store.close()

asyncio.run(ask())
"""


class Imports(NamedTuple):
    """Seconds for `import telegram.ext`, and for a persistence's module after it."""

    telegram: float
    module: float


def imports(module: str) -> Imports:
    """Import in a fresh interpreter."""
    return Imports(*_run(_IMPORTS, module))


def first_request(setting: Setting) -> float:
    """Return the seconds until a fresh process has imported aioboto3 and has its first answer."""
    return _run(_FIRST_REQUEST, setting.endpoint_url, **setting.environment)[0]


def _run(program: str, *arguments: str, **environment: str) -> list[float]:
    answer = subprocess.run(  # noqa: S603 - this interpreter, and a program from above
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    return [float(figure) for figure in answer.stdout.split()]
