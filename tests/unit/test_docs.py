"""The documentation builds without a warning, and would not if it pointed at what is not there."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from docs import excerpts

import ptb_s3

ROOT = Path(__file__).parents[2]
_WITHIN = 300  # seconds: a build takes some five, and longer on a busy machine


def build(docs: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build as `infra/docs.sh` does, with the environment that runs the tests."""
    options = ("--fail-on-warning", "--keep-going", "--nitpicky", "-q", "-b", "html")
    return subprocess.run(  # noqa: S603 - our own interpreter, and the pages' own settings
        [sys.executable, "-m", "sphinx", *options, "-d", str(out / "doctrees"), docs, out / "html"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_WITHIN,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"},
    )


def public_modules() -> list[str]:
    """Modules below the root that the reference has."""
    return re.findall(r"^## (ptb_s3\.[\w.]+)$", excerpts.references(), re.MULTILINE)


@pytest.mark.long
def test_pages_build_without_a_warning(tmp_path: Path) -> None:
    """All pages, all references, all docstrings of the public interface; nothing is fetched."""
    ran = build(ROOT / "docs", tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    reference = (tmp_path / "html" / "reference.html").read_text()
    public = [ptb_s3, *(import_module(name) for name in public_modules())]
    for module in public:
        for name in module.__all__:
            assert name.startswith("__") or f'id="{module.__name__}.{name}"' in reference
    for page in (tmp_path / "html").glob("*.html"):
        assert 'src="http' not in page.read_text(), f"{page.name} loads something from elsewhere"


@pytest.mark.long
def test_what_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    """A link to no page, to no heading, or to no name of ours fails the build, and is named."""
    for entry in ROOT.iterdir():
        if entry.name != "docs":
            (tmp_path / entry.name).symlink_to(entry)
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs, ignore=shutil.ignore_patterns("_build"))
    with (docs / "keys.md").open("a") as page:
        page.write("[a](no-page.md) [b](settings.md#no-heading) {py:class}`ptb_s3.NoSuchClass`\n")
    ran = build(docs, tmp_path / "out")
    assert ran.returncode == 1
    for nowhere in ("no-page.md", "no-heading", "ptb_s3.NoSuchClass"):
        assert nowhere in ran.stderr


def test_the_script_builds_as_the_suite_does() -> None:
    """`infra/docs.sh` is as strict."""
    script = (ROOT / "infra" / "docs.sh").read_text()
    assert "sphinx --fail-on-warning --keep-going --nitpicky" in script


def test_every_violation_is_among_the_invariants() -> None:
    """The architecture has the words of each check of the simulation."""
    shown = excerpts.invariants()
    modules = [ast.parse(path.read_text()) for path in sorted(excerpts.SIMULATION.glob("*.py"))]
    raised = [
        node
        for module in modules
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Violation" and node.args
    ]
    assert shown.count("\n  * `") == len(raised) > 20


def test_rooms_are_in_the_order_of_imports() -> None:
    """Each package's own rule stands in the architecture, from the rim to the core."""
    shown = excerpts.rooms()
    at = [
        shown.index(f"### `{name}`") for name in ("cli", "_ptb", "_values", "_engine", "_storage")
    ]
    assert at == sorted(at)
    packages = [path.parent.name for path in excerpts.PACKAGE.glob("*/__init__.py")]
    assert sorted(packages) == sorted(
        line.strip("#` ") for line in shown.splitlines() if line.startswith("### `")
    )


def test_public_modules_are_in_the_reference() -> None:
    """The errors and the serverless calls are; what is private or of the root is not."""
    assert {"ptb_s3.errors", "ptb_s3.serverless", "ptb_s3.hosts.aws_lambda"} <= set(
        public_modules()
    )
    assert not any(name.startswith("ptb_s3._") for name in public_modules())


def test_an_alias_has_its_text_and_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aliases, which autodoc knows little of, are read where they are defined."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from shop._types import Sync, cart, Tea\n"
        '__all__ = ["Sync", "Tea", "__version__", "cart"]\n'
    )
    (package / "_types.py").write_text(
        'Sync: TypeAlias = float | None\n"""How often."""\nclass Tea: ...\ndef cart(): ...\n'
    )
    monkeypatch.setattr(excerpts, "PACKAGE", package)
    assert list(excerpts.entries("shop")) == [
        excerpts.Entry("Sync", "py:data", ("float | None", "How often.")),
        excerpts.Entry("Tea", "autoclass"),
        excerpts.Entry("cart", "autofunction"),
    ]


@pytest.mark.parametrize(
    ("link", "leads_to"),
    [
        ("settings.md", "settings.md"),
        ("#here", "#here"),
        ("https://example.org/a.md", "https://example.org/a.md"),
        ("../SECURITY.md#out-of-scope", "security.md#out-of-scope"),
        ("../infra/example/shop/bot.py", "../infra/example/shop/bot.py"),
    ],
)
def test_links_fit_the_page(link: str, leads_to: str) -> None:
    """What is shown as a page is linked to as one; all else stays where it is."""
    assert excerpts.expanded(f"[a]({link})") == f"[a]({leads_to})"


@pytest.mark.parametrize(
    ("page", "error"),
    [
        ("<!-- nonsense -->", KeyError),
        ('<!-- section: README.md "No such section" -->', ValueError),
        ("<!-- file: no-such-file.md -->", OSError),
    ],
)
def test_a_wrong_mark_is_an_error(page: str, error: type[Exception]) -> None:
    """No page goes out with a hole in it."""
    with pytest.raises(error):
        excerpts.expanded(page)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: excerpts.section("README.md", "What it does not do"), "# What it does not do\n"),
        (lambda: excerpts.file("infra/fly/README.md"), "](cloudrun.md)"),
        (excerpts.promises, "](../tests/unit/test_faults.py)"),
    ],
)
def test_excerpts(make: Callable[[], str], found: str) -> None:
    """A section is a page with one title; links of what is taken from elsewhere are mended."""
    assert found in make()
