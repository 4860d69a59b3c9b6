"""A bot's own classes, saved under one launcher and loaded under another: real processes, each.

No server is asked: what makes the difference is how Python came to run the bot.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ptb_s3

SOURCE = Path(ptb_s3.__file__).parents[1]

BOT = """
import dataclasses, enum, pathlib, sys
from models import Visitor
from src.states import State
from shop import Price
from ptb_s3 import Keyring, S3Persistence
from ptb_s3.errors import PersistenceError

@dataclasses.dataclass(frozen=True)
class Cart:
    items: object

class Step(enum.Enum):
    FIRST = 1

KEY = "ptbs3k1_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoOeXryU"
persistence = S3Persistence("bucket", keyring=Keyring(KEY))
codec = persistence._serializer
large = [f"item {n}" for n in range(20_000)]
VALUES = [
    {"cart": Cart(["tea"]), "step": Step.FIRST, "who": Visitor("Ada"), "state": State(2)},
    {"price": Price(3), "cart": Cart([Cart(1), Step.FIRST, Cart])},
    {Cart("tea"), Cart("milk")},
    {"said": "__main__", "cart": Cart(b"\\x8c\\x08__main__\\x94\\x8c\\x04Cart\\x94\\x93")},
    [large, Cart(2), b"x" * 100_000, b"y" * 100_000, Cart(3)],
]
WORDS = codec.sharing(lambda: ("cart", "items", "step", "who", "name"))

def save(folder):
    for number, value in enumerate(VALUES):
        pathlib.Path(folder, f"{number}.pickle").write_bytes(codec.dumps(value))
    pathlib.Path(folder, "bare.pickle").write_bytes(WORDS.dumps(VALUES[0]))

def load(folder):
    for number, value in enumerate(VALUES):
        data = pathlib.Path(folder, f"{number}.pickle").read_bytes()
        assert codec.loads(data) == value, (number, codec.loads(data))
        assert number > 3 or codec.dumps(value) == data, (number, data, codec.dumps(value))
    bare = pathlib.Path(folder, "bare.pickle").read_bytes()
    assert WORDS.loads(bare) == VALUES[0] and WORDS.dumps(VALUES[0]) == bare
    print("loaded")

if __name__ == "__main__":
    {"save": save, "load": load}[sys.argv[1]](sys.argv[2])
"""
MODELS = "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass {}:\n    name: object\n"
# As the scripts of uvicorn, gunicorn and Lambda do, each from a folder of its own.
SERVER = """
import importlib, sys
sys.path.insert(0, {path!r})
module = importlib.import_module({module!r})
getattr(module, sys.argv[1])(sys.argv[2])
"""
IN_PYTEST = """
import os
from bot import load, save

def test_it():
    {"save": save, "load": load}[os.environ["DO"]](os.environ["AT"])
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A script, a module and a namespace package beside it, and a package."""
    return write(
        tmp_path_factory.mktemp("project"),
        {
            "bot.py": BOT,
            "models.py": MODELS.format("Visitor"),
            "src/states.py": MODELS.format("State"),
            "shop/__init__.py": MODELS.format("Price"),
            "test_bot.py": IN_PYTEST,
        },
    )


def run(folder: Path, *arguments: str, stdin: str = "", **environment: str) -> str:
    """Run a Python; return what it wrote, if all went well."""
    done = subprocess.run(  # noqa: S603 - our own interpreter and texts
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


Launch = Callable[[Path, str, str], str]


def script(project: Path, do: str, at: str) -> str:
    return run(project, "bot.py", do, at)


def script_from_elsewhere(project: Path, do: str, at: str) -> str:
    return run(Path(at), str(project / "bot.py"), do, at)


def module(project: Path, do: str, at: str) -> str:
    return run(project, "-m", "bot", do, at)


def server(project: Path, do: str, at: str) -> str:
    text = SERVER.format(path=str(project), module="bot")
    place = write(Path(at), {"bin/uvicorn": text})
    return run(place, str(place / "bin" / "uvicorn"), do, at)


def under_pytest(project: Path, do: str, at: str) -> str:
    options = ["-q", "-s", "-p", "no:cacheprovider", "test_bot.py"]
    return run(project, "-m", "pytest", *options, DO=do, AT=at)


def prompt(project: Path, do: str, at: str) -> str:
    return run(project, "-i", "-q", stdin=f"import bot\nbot.{do}({at!r})\n")


def debugger(project: Path, do: str, at: str) -> str:
    return run(project, "-m", "pdb", "-c", "continue", "bot.py", do, at, stdin="quit\n")


LAUNCHERS = [script, script_from_elsewhere, module, server, under_pytest, prompt, debugger]


@pytest.fixture(scope="module", params=[script, server, module], ids=lambda one: one.__name__)
def saved(
    request: pytest.FixtureRequest, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    request.param(project, "save", str(folder))
    return folder


@pytest.mark.parametrize("launch", LAUNCHERS, ids=lambda one: one.__name__)
def test_what_one_launcher_saves_another_one_loads(
    project: Path, saved: Path, launch: Launch
) -> None:
    """With nothing in `trusted`, classes of the script and of what lies beside it go both ways."""
    assert "loaded" in launch(project, "load", str(saved))


PACKAGED = {
    "app/__init__.py": "",
    "app/models.py": MODELS.format("Cart"),
    "app/main.py": """
import sys
from app.models import Cart
from ptb_s3 import Keyring, S3Persistence
class Own:
    pass
codec = S3Persistence("b", keyring=Keyring("{key}"))._serializer
def save(path): open(path, "wb").write(codec.dumps([Cart(1), Own]))
def load(path): assert codec.loads(open(path, "rb").read()) == [Cart(1), Own]; print("loaded")
if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
""".replace("{key}", "ptbs3k1_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoOeXryU"),
}


def test_a_package(tmp_path: Path) -> None:
    """Of a package, whichever of its modules runs, all of it is trusted."""
    write(tmp_path, PACKAGED)
    at = str(tmp_path / "state")
    text = SERVER.format(path=str(tmp_path), module="app.main")
    server_script = str(write(tmp_path / "bin", {"gunicorn": text}) / "gunicorn")
    run(tmp_path, "-m", "app.main", "save", at)
    assert "loaded" in run(tmp_path, "-m", "app.main", "load", at)
    assert "loaded" in run(tmp_path, server_script, "load", at)
    run(tmp_path, server_script, "save", at)
    assert "loaded" in run(tmp_path, "-m", "app.main", "load", at)


def test_a_script_that_serves_a_second_copy_of_itself(tmp_path: Path) -> None:
    """As with ``uvicorn.run("main:app")`` in main.py: loaded are the copy's, which serves."""
    body = PACKAGED["app/main.py"].replace("app.models", "models")
    body = body.replace("globals()[sys.argv[1]]", "__import__('main').__dict__[sys.argv[1]]")
    write(tmp_path, {"main.py": body, "models.py": MODELS.format("Cart")})
    at = str(tmp_path / "state")
    run(tmp_path, "main.py", "save", at)
    assert "loaded" in run(tmp_path, "main.py", "load", at)
    assert "loaded" in run(tmp_path, "-m", "main", "load", at)


PROMPT = """
import asyncio
from models import Cart
from ptb_s3 import Keyring, S3Persistence
KEY = "ptbs3k1_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoOeXryU"
codec = S3Persistence("b", keyring=Keyring(KEY))._serializer
assert codec.loads(codec.dumps(Cart(1))) == Cart(1)
print("lo" + "aded")
"""


@pytest.mark.parametrize("how", [["-i", "-q"], ["-m", "asyncio"], ["-"]], ids=" ".join)
def test_at_a_prompt(tmp_path: Path, how: list[str]) -> None:
    """Somebody at a prompt may use what can be imported there."""
    write(tmp_path, {"models.py": MODELS.format("Cart")})
    assert "loaded" in run(tmp_path, *how, stdin=PROMPT)


def test_libraries_beside_the_bot_are_not_trusted(tmp_path: Path) -> None:
    """As on Lambda, where an installer puts all that a bot depends on right beside it."""
    write(
        tmp_path,
        {
            "bot.py": PACKAGED["app/main.py"].replace("app.models", "models")
            + "\nprint(sorted(codec._allow_list._trusted))",
            "models.py": MODELS.format("Cart"),
            "library.py": MODELS.format("Thing"),
            "library-1.0.dist-info/RECORD": "library.py,,\nlibrary-1.0.dist-info/RECORD,,\n",
            "library-1.0.dist-info/METADATA": "Name: library\nVersion: 1.0\n",
            "env_of_python/pyvenv.cfg": "home = /usr\n",
        },
    )
    at = str(tmp_path / "state")
    assert "['__main__', 'bot', 'models']" in run(tmp_path, "bot.py", "save", at)
