"""First-party modules: the bot's own, whose classes are trusted, and the real name of `__main__`.

Which modules are first-party follows from who makes the persistence:

| the persistence is made in | first-party, besides `__main__` |
|---|---|
| a module of a package | the top-level package |
| a part of a namespace package that libraries share | that module |
| a single file | the modules and packages in its folder |
| a prompt, if imports are found in the working directory | the same of that folder |
| a library, or Python itself | none |

Libraries never are first-party, wherever they were installed: `pip install --target` puts them
right beside the bot. Nothing is imported to find out, and no code of a module runs.
"""

from __future__ import annotations

import contextlib
import os
import pkgutil
import site
import sys
import sysconfig
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

MAIN: Final = "__main__"
_PROJECT: Final = __name__.partition(".")[0]
# Folders that installers put libraries into, for any Python. Debian has the second.
_LIBRARIES: Final = {"site-packages", "dist-packages"}
# Names in the top folder of a virtual environment (PEP 405), and of an environment of conda's.
_ENVIRONMENT: Final = ("pyvenv.cfg", "conda-meta")
# Names of `sysconfig` for the paths of Python itself, and of the programs installed with it.
_PYTHON: Final = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")


class Main(NamedTuple):
    """Snapshot of the module that runs as ``__main__`` in this process.

    Attributes:
        name: Name by which other processes import it; None: they cannot.
        owns_name: Whether classes of that name are those of ``__main__``. They are not where the
            caller is a second copy of the file, as when main.py runs ``uvicorn.run("main:app")``.
    """

    name: str | None
    owns_name: bool


def first_party_modules() -> tuple[str, ...]:
    """Return the first-party modules of whoever calls this project from outside.

    Returns:
        Names of modules and packages: ``__main__`` first, then the others.
    """
    caller = _caller()
    own = () if caller is None else _modules_of(caller)
    return (MAIN, *(name for name in own if name != MAIN))


def main_module() -> Main:
    """Return the names of ``__main__``, from the view of whoever calls this project."""
    module = sys.modules.get(MAIN)
    name = None if module is None else _importable_name(vars(module))
    if name is None or sys.modules.get(name) in (None, module):
        return Main(name, owns_name=True)
    caller = _caller()
    return Main(name, owns_name=caller is None or caller["__name__"] == MAIN)


def _caller() -> dict[str, Any] | None:
    """Return the globals of the nearest caller that is neither of this project nor of Python."""
    # The standard library only passes calls on, as typing does with `S3Persistence[...](...)`.
    passing = {_PROJECT, *sys.stdlib_module_names}
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the only way to see who calls
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if isinstance(name, str) and _top(name) not in passing:
            return frame.f_globals
        frame = frame.f_back
    return None


def _modules_of(caller: dict[str, Any]) -> tuple[str, ...]:
    """Return the first-party modules of a caller, by the table above."""
    file, name = caller.get("__file__"), caller["__name__"]
    if name == MAIN and (not isinstance(file, str) or _is_in_library_of_python(file)):
        # Somebody at a prompt, whose imports are found in the working directory.
        at = os.getcwd()  # noqa: PTH109 - as sys.path has it
        return _in_folder(Path(at)) if {"", at} & set(sys.path) else ()
    if not isinstance(file, str) or is_third_party(file):
        return ()
    name = _importable_name(caller) if name == MAIN else name
    if name is None:
        return _in_folder(Path(file).resolve().parent)
    top = _top(name)
    if name == top and "__path__" not in caller:
        return tuple({name, *_in_folder(Path(file).resolve().parent)})
    # Libraries may have put parts of theirs into a namespace package of that name.
    shared = any(map(is_third_party, getattr(sys.modules.get(top), "__path__", ())))
    return (name,) if shared else (top,)


def _importable_name(module: dict[str, Any]) -> str | None:
    """Return the name by which others can import a module that runs as `__main__`, or None."""
    file, spec = module.get("__file__"), module.get("__spec__")
    if not isinstance(file, str) or is_third_party(file):
        return None
    if isinstance(spec, ModuleSpec) and spec.name != MAIN:  # python -m
        return spec.name
    path = Path(file).resolve()
    if path.stem == MAIN or not path.stem.isidentifier():
        return None
    found = PathFinder.find_spec(path.stem)
    return path.stem if found and found.origin and _same(found.origin, str(path)) else None


def _in_folder(folder: Path) -> tuple[str, ...]:
    """Return the top-level modules and packages that lie directly in a folder."""
    names = {module.name for module in pkgutil.iter_modules([str(folder)])}
    with contextlib.suppress(OSError):  # a zip archive, for one, has no folders to look at
        names |= {entry.name for entry in os.scandir(folder) if entry.is_dir()}
    installed = _installed_in(folder)
    if installed is None:
        return ()
    names -= installed | {_PROJECT, MAIN} | sys.stdlib_module_names
    return tuple(sorted(name for name in names if name.isidentifier() and _is_from(folder, name)))


def _is_from(folder: Path, name: str) -> bool:
    """Return whether an import of a top-level name finds a folder's module, and no library's."""
    loaded = sys.modules.get(name)
    with contextlib.suppress(Exception):  # whatever finders raise, it is none then
        spec = PathFinder.find_spec(name) if loaded is None else loaded.__spec__
        if spec is None:
            return False
        places = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
        here = any(_same(str(Path(one).parent), str(folder)) for one in places)
        return here and not any(
            is_third_party(one) or _holds_libraries(Path(one)) for one in places
        )
    return False


def _installed_in(folder: Path) -> set[str] | None:
    """Return the names that an installer put into a folder, or None: it cannot be told."""
    names = {
        Path(str(file)).parts[0].partition(".")[0]
        for record in folder.glob("*.dist-info")
        for file in Distribution.at(record).files or ()
    }
    # Whoever wants a small archive deletes the installer's records, and the libraries stay. PTB
    # without a record says so: no library here can then be told from a module of the bot's.
    beside = (folder / "telegram" / "__init__.py").exists() and "telegram" not in names
    return None if beside else names


def _holds_libraries(folder: Path) -> bool:
    return any(True for _ in folder.glob("*.dist-info"))


def is_third_party(file: str) -> bool:
    """Return whether a file or folder belongs to Python, a library or a virtual environment.

    Args:
        file: Its path.
    """
    path = Path(file).resolve()
    if not _LIBRARIES.isdisjoint(path.parts):
        return True
    if any(path.is_relative_to(folder) for folder in _folders_of_python()):
        return True
    return any(_is_environment(folder) for folder in (path, *path.parents))


def _is_in_library_of_python(file: str) -> bool:
    path = Path(file).resolve()
    is_library = not _LIBRARIES.isdisjoint(path.parts)
    return not is_library and path.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve())


@cache
def _is_environment(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in _ENVIRONMENT)


@cache
def _folders_of_python() -> tuple[Path, ...]:
    folders = [sysconfig.get_path(name) for name in _PYTHON]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    return tuple({Path(folder).resolve() for folder in folders})


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _top(name: str) -> str:
    return name.partition(".")[0]
