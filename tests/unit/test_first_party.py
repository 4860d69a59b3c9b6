"""Which modules are the bot's own; `tests/integration/test_launchers.py` has the real processes."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptb_s3._values.first_party import first_party_modules, is_third_party, main_module
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3.errors import SettingsError

DIST = "library-1.0.dist-info"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that imports are found in, first of all."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def asked_from(file: Path, name: str, **more: object) -> set[str]:
    """Return what is the own of a module of that name."""
    names: dict[str, Any] = {
        "__name__": name,
        "__file__": str(file),
        "ask": first_party_modules,
        **more,
    }
    exec("own = ask()", names)  # noqa: S102 - a module, as Python runs it
    own: tuple[str, ...] = names["own"]
    assert own[0] == "__main__"
    return set(own[1:])


def test_modules_beside_a_single_file_are_first_party(folder: Path) -> None:
    """Modules, packages and folders that Python would import from there, and nothing below."""
    files(folder, "bot.py", "models.py", "shop/__init__.py", "shop/goods.py", "src/deep/states.py")
    files(folder, "not-a-name.py", "notes.txt", "with space/x.py")
    assert asked_from(folder / "bot.py", "bot") == {"bot", "models", "shop", "src"}
    assert asked_from(folder / "bot.py", "__main__") == {"bot", "models", "shop", "src"}


def test_the_top_level_package_is_first_party(folder: Path) -> None:
    """The top-level package is the own one, however deep the module lies, and nothing beside it."""
    files(folder, "shop/__init__.py", "shop/web/bot.py", "models.py")
    assert asked_from(folder / "shop/web/bot.py", "shop.web.bot") == {"shop"}
    assert asked_from(folder / "shop/__init__.py", "shop", __path__=[]) == {"shop"}
    spec = types.SimpleNamespace()
    assert asked_from(folder / "shop/web/bot.py", "shop.web.bot", __spec__=spec) == {"shop"}


@pytest.mark.parametrize("environment", ["env", ".venv", "src"])
def test_a_virtual_environment_is_not_first_party(folder: Path, environment: str) -> None:
    """Neither one beside the bot, nor anything in it."""
    files(folder, "bot.py", f"{environment}/pyvenv.cfg", f"{environment}/lib/thing.py")
    assert asked_from(folder / "bot.py", "bot") == {"bot"}
    assert asked_from(folder / environment / "lib/thing.py", "thing") == set()
    assert is_third_party(str(folder / environment / "lib/thing.py"))


@pytest.mark.parametrize("name", ["site-packages", "dist-packages"])
def test_a_library_that_makes_the_persistence_trusts_nothing(folder: Path, name: str) -> None:
    """A library that makes the persistence has nothing trusted by that."""
    files(folder, f"{name}/library/__init__.py", f"{name}/other.py")
    assert asked_from(folder / name / "library/__init__.py", "library") == set()


def test_a_folder_named_like_a_module_of_python_is_not_trusted(folder: Path) -> None:
    """A folder that is named like a module of Python's makes nobody trust that module."""
    files(folder, "bot.py", "logging/today.txt", "random.py", "telegram/x.txt", "ptb_s3/x.txt")
    assert asked_from(folder / "bot.py", "bot") == {"bot"}


def test_a_name_that_is_imported_from_elsewhere_is_not_first_party(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is trusted only if an import of it gives what lies beside the bot, and that alone."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    files(elsewhere, "first.py", "site-packages/shared/library.py", "more/loaded.py")
    files(folder, "bot.py", "first.py", "shared/own.py", "loaded.py")
    monkeypatch.syspath_prepend(elsewhere)
    monkeypatch.syspath_prepend(elsewhere / "site-packages")
    assert asked_from(folder / "bot.py", "bot") == {"bot", "loaded"}
    loaded = types.ModuleType("loaded")
    loaded.__spec__ = __import__("importlib.machinery").machinery.ModuleSpec(
        "loaded", None, origin=str(elsewhere / "more/loaded.py")
    )
    monkeypatch.setitem(sys.modules, "loaded", loaded)
    assert asked_from(folder / "bot.py", "bot") == {"bot"}


def test_libraries_installed_beside_the_bot_are_not_first_party(folder: Path) -> None:
    """As for Lambda: ``pip install --target`` puts libraries into the bot's own folder."""
    files(folder, "bot.py", "models.py", "library/__init__.py", "one_file.py", f"{DIST}/METADATA")
    files(folder, "package/thing.py", f"package/{DIST}/METADATA")
    record = "library/__init__.py,,\none_file.py,,\n../bin/x,,\n"
    (folder / DIST / "RECORD").write_text(record)
    assert asked_from(folder / "bot.py", "bot") == {"bot", "models"}


def test_beside_libraries_without_records_only_the_bots_module_is_first_party(folder: Path) -> None:
    """Where nothing tells what an installer put there, only the bot's own module is for sure."""
    files(folder, "bot.py", "models.py", "telegram/__init__.py", "requests/__init__.py")
    assert asked_from(folder / "bot.py", "bot") == {"bot"}


def test_a_namespace_that_libraries_share(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bot in such a package makes nobody trust the libraries in it."""
    files(folder, "google/bot.py", "site-packages/google/protobuf.py")
    shared = types.ModuleType("google")
    shared.__path__ = [str(folder / "google"), str(folder / "site-packages/google")]
    monkeypatch.setitem(sys.modules, "google", shared)
    assert asked_from(folder / "google/bot.py", "google.bot") == {"google.bot"}


def as_main(monkeypatch: pytest.MonkeyPatch, file: Path | None, **more: object) -> None:
    main = types.ModuleType("__main__")
    if file is not None:
        main.__file__ = str(file)
    vars(main).update(more)
    monkeypatch.setitem(sys.modules, "__main__", main)


def test_the_name_of_main(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs has the name that an import finds it by, if there is one."""
    files(folder, "bot.py", "my-bot.py", "__main__.py", "site-packages/library.py", "other/bot.py")
    for file, name in (
        (folder / "bot.py", "bot"),
        (folder / "my-bot.py", None),
        (folder / "__main__.py", None),
        (folder / "other/bot.py", None),  # an import finds another one
        (folder / "site-packages/library.py", None),
        (None, None),
    ):
        as_main(monkeypatch, file)
        assert main_module() == (name, True)
    spec = __import__("importlib.machinery").machinery.ModuleSpec("shop.bot", None)
    as_main(monkeypatch, folder / "bot.py", __spec__=spec)
    assert main_module() == ("shop.bot", True)


@pytest.mark.parametrize(
    "trusted", ["shop", ("shop", ""), ("shop.py", "a/b"), ("shop.*",), (1,), 5, ("site-packages",)]
)
def test_trusted_is_names_of_modules(trusted: Any) -> None:
    """Anything else would trust nothing, or everything, without a word."""
    with pytest.raises(SettingsError, match="names"):
        PickleSerializer(trusted=trusted)


def test_the_standard_library_passes_calls_on(folder: Path) -> None:
    """As typing does of ``S3Persistence[dict, dict, dict](...)``: it is not who calls."""
    files(folder, "bot.py")
    call: Callable[..., Any] = __import__("contextlib").ExitStack().callback
    assert call is not None
    names: dict[str, Any] = {
        "__name__": "bot",
        "__file__": str(folder / "bot.py"),
        "ask": first_party_modules,
    }
    exec("import copy, functools\nown = sorted([0], key=lambda _: 0) and ask()", names)  # noqa: S102 - as above
    assert "bot" in names["own"]
