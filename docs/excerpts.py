"""Excerpts: text that pages take from other files, so that it stands once.

A page has a mark on a line of its own, which the build replaces (`expanded`):

| mark | becomes |
|---|---|
| ``<!-- file: PATH -->`` | the page is that Markdown file, links made to fit |
| ``<!-- section: PATH "TITLE" -->`` | the page is one section of it |
| ``<!-- rooms -->`` | the rule of each package, from its docstring, in the order of imports |
| ``<!-- invariants -->`` | what the simulation checks, with the message of each violation |
| ``<!-- promises -->`` | README's table of promises |
| ``<!-- references -->`` | an entry of autodoc for each name that a public module exports |

Rule: pure functions of the files below `ROOT`. Nothing is imported from them and nothing is run.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SIMULATION = ROOT / "tests" / "simulation"
PACKAGE = ROOT / "src" / "ptb_s3"
PUBLIC = ("serverless", "hosts", "hosts.aws_lambda", "testing", "settings", "errors")
"""Modules whose ``__all__`` is public, besides the root's."""
ORDER = ROOT / "tests" / "unit" / "test_layers.py"

WHOLE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "findings/README.md": "findings.md",
    "infra/README.md": "infra.md",
    "infra/bucket/README.md": "bucket.md",
    "infra/cloudrun/README.md": "cloudrun.md",
    "infra/fly/README.md": "fly.md",
    "infra/lambda/README.md": "lambda.md",
    "src/ptb_s3/_format/FORMAT.md": "format.md",
    "tests/vectors/README.md": "vectors.md",
}
"""Files outside of ``docs/`` that links lead to, each with the page that stands for it."""

_MARK = re.compile(r'^<!-- (\w+)(?:: (\S+))?(?: "(.+)")? -->$', re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_HEADING = re.compile(r"^#(?=#+ )", re.MULTILINE)


class Check(NamedTuple):
    """One check of the simulation.

    Attributes:
        name: Function that makes it.
        purpose: First line of the function's docstring; empty where it has none.
        violations: Messages of the violations that it raises, in their order; a value that a
            message has in it stands as its expression in braces.
    """

    name: str
    purpose: str
    violations: tuple[str, ...]


def expanded(text: str) -> str:
    """Return a page with the text of other files in the place of its marks.

    The mark of a file or a section stands for the whole page: what such a page says besides is for
    those who read it unbuilt.

    Raises:
        KeyError: A mark is none of those above.
        ValueError: A section or table that is asked for is not there.
    """
    for mark in _MARK.finditer(text):
        if mark[1] in _WHOLE_PAGES:
            return _WHOLE_PAGES[mark[1]](mark[2], mark[3])
    return _relinked(_MARK.sub(lambda mark: _EXCERPTS[mark[1]](), text), "docs/")


def file(path: str, _title: str | None = None) -> str:
    """Return a Markdown file whose links lead from ``docs/`` to where they led from it."""
    return _relinked((ROOT / path).read_text(), path)


def section(path: str, title: str | None) -> str:
    """Return one section of a Markdown file, its headings one level higher.

    Raises:
        ValueError: There is no such section.
    """
    text = (ROOT / path).read_text()
    found = re.search(
        rf"^## {re.escape(title or '')}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    if found is None:
        raise ValueError(f"{path} has no section {title!r}")
    return _HEADING.sub("", _relinked(found[0], path))


def promises() -> str:
    """Return README's table of promises, each with the tests that keep it."""
    text = (ROOT / "README.md").read_text()
    found = re.search(r"^\| promise \|.*?\n(?=\n)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError("README.md has no table of promises")
    return found[0].replace("](", "](../")


def rooms() -> str:
    """Return the packages, from the rim to the core, each with its rule."""
    parts = []
    for name in _packages():
        rule = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text()))
        parts.append(f"### `{name}`\n\n{rule}\n")
    return "\n".join(parts)


def _packages() -> Iterator[str]:
    for node in ast.parse(ORDER.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROOMS":
            for names in ast.literal_eval(node.value):
                yield from (name for name in names if (PACKAGE / name).is_dir())


def invariants() -> str:
    """Return every check of the simulation that can find a violation, module by module."""
    parts = []
    for path in sorted(SIMULATION.glob("*.py")):
        tree = ast.parse(path.read_text())
        found = list(checks(tree))
        if found:
            parts.append(f"\n### `{path.stem}`\n\n{ast.get_docstring(tree)}\n\n")
        for check in found:
            parts.append(f"* {check.purpose or f'`{check.name}`:'}\n")
            parts += [f"  * `{violation}`\n" for violation in check.violations]
    return "".join(parts)


def checks(module: ast.Module) -> Iterator[Check]:
    """Give the checks that a module of the simulation makes."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found = tuple(_violations(node))
            if found:
                purpose = (ast.get_docstring(node) or "").partition("\n")[0]
                yield Check(node.name, purpose, found)


def _violations(function: ast.AST) -> Iterator[str]:
    """Give the messages of a function's own violations, not of functions within it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Violation" and node.args:
            yield _written(node.args[0])
        else:
            yield from _violations(node)


def _written(message: ast.expr) -> str:
    """Return a message as a reader sees it, with braces around what it is filled with."""
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    return "".join(_part(part) for part in parts)


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    filled = part.value if isinstance(part, ast.FormattedValue) else part
    return f"{{{ast.unparse(filled)}}}"


class Entry(NamedTuple):
    """Public name, as the reference shows it.

    Attributes:
        name: The name in the module that exports it.
        directive: The directive that describes it: autodoc's, but for an alias of a type, of which
            autodoc finds neither the text nor how it was written.
        text: For an alias: what it is written as, and the text below it in its module.
    """

    name: str
    directive: str
    text: tuple[str, str] = ("", "")


def references() -> str:
    """Return a section for each public module, with what has autodoc describe its names."""
    modules = [f"ptb_s3.{name}" for name in PUBLIC]
    return "\n\n".join(f"## {module}\n\n{_reference(module)}" for module in ["ptb_s3", *modules])


def _reference(module: str) -> str:
    lines = [f".. automodule:: {module}", "   :no-members:", ""]
    for entry in entries(module):
        if entry.directive == "py:data":
            value, text = entry.text
            lines += [f".. py:data:: {entry.name}", f"   :module: {module}", f"   :value: {value}"]
            lines += ["", *(f"   {line}" for line in text.splitlines()), ""]
            continue
        name = f"{module}.{entry.name}"
        if module == "ptb_s3.settings" and entry.directive == "autoclass":
            name += "()"  # its arguments and fields are of no use to a reader
            lines += [f".. autoclass:: {name}", "   :no-members:"]
        else:
            lines.append(f".. {entry.directive}:: {name}")
        if module == "ptb_s3.errors":
            lines.append("   :show-inheritance:")
        lines.append("")
    return "\n".join(["```{eval-rst}", *lines, "```"])


def entries(module: str) -> Iterator[Entry]:
    """Give the public names of a module in its own order, by where each of them is defined."""
    tree = ast.parse(_source_of(module))
    homes = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    for name in _exported(tree):
        home = ast.parse(_source_of(homes[name])) if name in homes else tree
        found = _definition(home, name)
        if found is not None:
            yield found


def _source_of(module: str) -> str:
    path = PACKAGE.parent.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


def _exported(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise ValueError("the module has no __all__")


def _definition(tree: ast.Module, name: str) -> Entry | None:
    """Describe a name by its definition; None: it has none here, as `__version__`."""
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return Entry(name, "autoclass")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return Entry(name, "autofunction")
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value:
            return Entry(name, "py:data", (ast.unparse(node.value), _text_below(after)))
    return None


def _text_below(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    return ""


def _relinked(text: str, path: str) -> str:
    """Have links lead from ``docs/`` to where they led from a file.

    A file that is shown as a page is linked to as that page.
    """
    folder = os.path.dirname(path)  # noqa: PTH120 - of "docs/", it is "docs"

    def relinked(link: re.Match[str]) -> str:
        target, hash_, anchor = link[1].partition("#")
        if not target or ":" in target:
            return link[1]
        there = os.path.normpath(os.path.join(folder, target))  # noqa: PTH118 - as above
        page = WHOLE.get(there) or os.path.relpath(there, "docs")
        return page + hash_ + anchor

    return _LINK.sub(relinked, text)


_WHOLE_PAGES: dict[str, Callable[[str, str | None], str]] = {"file": file, "section": section}
_EXCERPTS = {
    "promises": promises,
    "rooms": rooms,
    "invariants": invariants,
    "references": references,
}
