"""Remedies: advice on a class that the allow-list keeps out, for each kind that users meet.

| the class is | advice |
|---|---|
| known by name, such as numpy's, or a PTB job | what to keep in its place |
| an exception | keep its text, and the name of its class |
| telegram's | it is of the running bot: keep what it takes to find it again |
| of the standard library | keep plain data, and make it anew |
| of a library | keep plain data, or vouch for the library |
| the bot's own, or of unknown origin | name its module in the option |

Nothing is imported to find out.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from typing import Final

from ptb_s3._values.first_party import MAIN, is_third_party

FUNCTION: Final = "keep a name in its place, and look the function up by that"
_EXCEPTION: Final = "keep its text, and the name of its class"
_RUNNING: Final = "it is of the running bot: keep what it takes to find it again, such as a name"
_STANDARD: Final = "keep what it is made of, as plain data, and make it anew where it is used"
_LIBRARY: Final = (
    "it is of a library, which may change it: keep plain data in its place, or vouch for the "
    "library by its name in {option}"
)
_OWN: Final = "as its module is your own, name it in {option}"
_UNKNOWN: Final = "if its module is yours, name it in {option}"
_JOB: Final = "keep its name, and find it by job_queue.get_jobs_by_name()"
# Advice for classes by full name, or by package.
_BY_NAME: Final = {
    "numpy": "keep .item() of a number, and .tolist() of an array",
    "pandas": "keep .to_dict() of a table, and .to_pydatetime() of a time",
    "re.Pattern": "keep its .pattern, and compile it where it is used",
    "telegram.ext._jobqueue.Job": _JOB,
    "telegram.ext.Job": _JOB,
}


def remedy(module: str, name: str, option: str = "trusted=(...)") -> str:
    """Return advice on a class that is not trusted, as the end of a sentence.

    Args:
        module: Name of its module. It is not imported for this.
        name: Its qualified name in there.
        option: The option in which trust is given, such as ``"--trusted"``.
    """
    top = module.partition(".")[0]
    known = _BY_NAME.get(f"{module}.{name}") or _BY_NAME.get(top)
    if known is not None:
        return known
    if _is_exception(module, name):
        return _EXCEPTION
    if top == "telegram":
        return _RUNNING
    if top in sys.stdlib_module_names:
        return _STANDARD
    return _by_place(module).format(option=option)


def remedies(names: Iterable[tuple[str, str]], option: str) -> str:
    """Return advice on several classes, in sentences: each with the classes that it is for.

    Args:
        names: Module and name of each.
        option: The option in which trust is given.
    """
    of: dict[str, list[str]] = {}
    for module, name in sorted(names):
        of.setdefault(remedy(module, name, option), []).append(f"{module}.{name}")
    return " ".join(f"{', '.join(classes)}: {line}." for line, classes in of.items())


def _is_exception(module: str, name: str) -> bool:
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return isinstance(found, type) and issubclass(found, BaseException)


def _by_place(module: str) -> str:
    if module == MAIN:
        return _OWN
    file = _file(module)
    if file is None:
        return _UNKNOWN
    return _LIBRARY if is_third_party(file) else _OWN


def _file(module: str) -> str | None:
    top = module.partition(".")[0]
    for name in (module, top):
        file = getattr(sys.modules.get(name), "__file__", None)
        if isinstance(file, str):
            return file
    with contextlib.suppress(Exception):  # whatever finders raise, it is not found then
        spec = PathFinder.find_spec(top)
        return spec.origin if spec else None
    return None
