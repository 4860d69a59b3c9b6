"""Settings of Sphinx. `sh infra/docs.sh` builds the pages; nothing is fetched while it does."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs import excerpts

import ptb_s3

project = "ptb-s3"
author = "The ptb-s3 contributors"
project_copyright = author
release = tomllib.loads((excerpts.ROOT / "pyproject.toml").read_text())["project"]["version"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"ptb-s3 {release}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["colon_fence"]
# So that a link to a heading is checked, as one to a page is.
myst_heading_anchors = 4

# Docstrings have names of code in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

napoleon_use_ivar = True  # or attributes that are members as well are described twice

# Every reference must lead somewhere. Not meant are types in signatures that these pages do not
# have: those of other projects, whose pages would have to be fetched, and private ones. What is
# named as `ptb_s3.NAME`, and every error after "Raises:", has to be in the reference.
nitpick_ignore_regex = [
    ("py:(class|obj|data|meth|attr|func)", r"(?!ptb_s3\.).*"),
    ("py:(class|obj)", r"ptb_s3\.(.+\.)?(_.*|[UCB]D)"),
    (
        "py:exc",
        "UnknownClassError",
    ),  # of `PickleSerializer.loads`; its callers make a public one of it
]


def _expand(_app: object, _docname: str, source: list[str]) -> None:
    source[0] = excerpts.expanded(source[0])


def _is_skipped(_app: object, _what: str, _name: str, member: object, *_: object) -> bool | None:
    """Leave out what PTB describes itself; None leaves the decision to autodoc."""
    return True if str(getattr(member, "__module__", "")).startswith("telegram") else None


def setup(app: Any) -> dict[str, Any]:  # noqa: ANN401 - Sphinx's application, typed there
    """Have pages take excerpts, and show public names where they are exported."""
    for name in ptb_s3.__all__:  # made by the module's `__getattr__`, which autodoc does not ask
        setattr(ptb_s3, name, getattr(ptb_s3, name))
    app.connect("source-read", _expand)
    app.connect("autodoc-skip-member", _is_skipped)
    return {"parallel_read_safe": True}
