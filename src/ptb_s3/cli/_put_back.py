"""Objects that were put back, in words: a warning for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ptb_s3._history.put_back import PutBack
from ptb_s3.cli import _output
from ptb_s3.cli._wording import when, when_json


def tell_put_back(found: Sequence[PutBack]) -> None:
    """Warn of current objects that are copies of what was written earlier."""
    for name, made, modified in found:
        _output.warning(
            f"{name} was made at {when(made)}, and the storage has it since {when(modified)}: an "
            "older version was put back, or the bucket was copied. If nobody of yours did, whoever "
            "can write to the bucket has rolled the state back: see ptb-s3 history."
        )


def put_back_json(found: Sequence[PutBack]) -> list[dict[str, Any]]:
    """Return them as JSON."""
    return [
        {"object": name, "created": when_json(made), "modified": when_json(modified)}
        for name, made, modified in found
    ]
