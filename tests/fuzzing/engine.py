"""Runs one target with atheris, and ends the process: ``python -m tests.fuzzing`` starts it.

Arguments: the target, and libFuzzer's own.
"""

from __future__ import annotations

import pickle
import sys
from types import FunctionType

import atheris

with atheris.instrument_imports(include=["ptb_s3"]):
    from tests.fuzzing.targets import TARGETS


def main() -> None:
    """Fuzz; libFuzzer's exit code is the process's."""
    name, *options = sys.argv[1:]
    # The reader that is written in Python leads the way for the one in C, which gives no hints.
    for function in vars(pickle._Unpickler).values():
        if isinstance(function, FunctionType):
            atheris.instrument_func(function)
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
