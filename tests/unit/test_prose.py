"""Docstrings read as STYLE's rules for prose have it, as far as a test can tell."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ptb_s3

SOURCE = Path(ptb_s3.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
_RIDDLE = re.compile(r"(What|Whether)\b")


def first_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where each docstring of a module stands, and its first line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", "module"), text.splitlines()[0]


def faults(line: str) -> list[str]:
    """What keeps a first line from being one."""
    return [
        *(["begins with What or Whether"] if _RIDDLE.match(line) else []),
        *(["has a semicolon"] if ";" in line else []),
    ]


def test_there_are_docstrings() -> None:
    """The rules are kept by something."""
    assert sum(len(list(first_lines(path))) for path in MODULES) > 1000


def test_the_rules_can_be_broken() -> None:
    """Each rule refuses a line that breaks it."""
    assert faults("Whether it is so; or not.") == [
        "begins with What or Whether",
        "has a semicolon",
    ]
    assert faults("Return the head.") == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_first_lines(path: Path) -> None:
    """One clause that says what it does: no riddle at the beginning, no second sentence."""
    assert {name: faults(line) for name, line in first_lines(path) if faults(line)} == {}
