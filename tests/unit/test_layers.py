"""The packages are the architecture: imports run one way."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ptb_s3

SOURCE = Path(ptb_s3.__file__).parent
# From the rim to the core, as in DESIGN's section 11: a room imports only what stands below it.
ROOMS = (
    ("cli",),
    ("hosts",),
    (
        "testing",
        "serverless",
        "application",
        "job_queue",
        "persistence",
        "settings",
        "_environment",
        "_key_files",
        "_key_settings",
        "_setting_fields",
    ),
    ("_doctor",),
    ("_jobs",),
    ("_ptb",),
    ("_options",),
    ("_transfer",),
    ("_values",),
    ("_engine",),
    ("_history",),
    ("_keys",),
    ("_format",),
    ("_storage",),
    ("errors",),
)
DOORS = {
    "apscheduler": {"_jobs.scheduler", "_jobs.triggers"},
    "aioboto3": {"_storage.client"},
    "aiobotocore": {"_storage.client", "_storage.conditional_get", "_storage.transport"},
    "aiohttp": {"hosts.webhook", "_storage.resolver", "_storage.transport"},
    "botocore": {
        *("_storage.addressing", "_storage.client", "_storage.conditional_get"),
        *("_storage.models", "_storage.requester", "_storage.transport"),
    },
    "pickle": {
        *("_format.words", "_values.loading", "_values.shared_strings", "_values.transcoder"),
        *("_values.placeholder_pickler", "_values.placeholder_unpickler"),
        *("_values.pickling.canonical_sets", "_values.pickling.main_names"),
        *("_values.pickling.pickler", "_values.pickling.reader", "_values.pickling.reductions"),
        *("_values.pickling.sets", "_values.pickling.unpickler"),
    },
    "dotenv": {"_environment"},
    "cryptography": {"_format.container", "_format.unsealer", "_keys.keyring"},
    "zstandard": {"_format.container"},
    "jinja2": {"cli._init.script", "cli._report.rendering"},
    "markupsafe": {"cli._report.rendering"},
}
"""Modules that alone import a library."""
PURE = (
    "_format",
    "_options",
    "_engine.attempts",
    "_engine.overtaken",
    "_engine.rebase",
    "_engine.recovered_base",
    "_engine.staging",
    "_engine.unmerged",
    "_engine.vocabulary",
    "_history.key_needs",
    "_jobs.claims",
    "_jobs.conflicts",
    "_jobs.going_back",
    "_jobs.identity",
    "_jobs.listing",
    "_jobs.record",
    "_jobs.timeout_record",
    "_jobs.triggers",
    "_jobs.wall_clock",
    "_jobs.wording",
    "_history.order",
    "_history.retention",
    "_keys.keyring",
    "_storage.lifecycle",
    "_storage.listing",
    "_storage.place",
    "_values.callback_data",
    "_values.diff",
    "_values.merge",
    "_values.three_way_merge",
    *(f"cli._report.{name}" for name in ("churn", "events", "facts", "figure", "growth", "keys")),
    *(f"cli._report.{name}" for name in ("page", "scale", "timeline", "verdict", "visible")),
    "cli._report.writers",
)
EFFECTS = {"asyncio", "os", "time", "random", "secrets", "socket", "logging", "threading"}


def module(path: Path) -> str:
    """Name of a module below the package, without ``__init__``."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room(name: str) -> int:
    """Place of a module, by its name, in the order of rooms."""
    own = name.partition(".")[0]
    return next(place for place, names in enumerate(ROOMS) if own in names)


@cache
def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever it does, but for types alone."""
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    for guard in (node for node in ast.walk(tree) if isinstance(node, ast.If)):
        if isinstance(guard.test, ast.Name) and guard.test.id == "TYPE_CHECKING":
            guard.body.clear()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


MODULES = [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]


def test_every_module_has_its_room() -> None:
    """What lies in the package is what the order of rooms says, and nothing else."""
    there = {module(path).partition(".")[0] for path in MODULES}
    assert there == {name for names in ROOMS for name in names}


@pytest.mark.parametrize("path", MODULES, ids=module)
def test_imports_run_one_way(path: Path) -> None:
    """A module imports nothing of a room above its own."""
    own = room(module(path))
    for name in imports(path):
        package, _, below = name.partition(".")
        if package == "ptb_s3" and below:
            # A public name comes from the root, wherever it is defined.
            there = "persistence" if below in ptb_s3.__all__ else below
            assert room(there) >= own, f"{module(path)} imports {name}"


@pytest.mark.parametrize("name", sorted({name for (name, *_) in ROOMS}))
def test_no_circles(name: str) -> None:
    """Within a room, too, imports run one way."""
    own = {
        module(path): {
            imported.removeprefix("ptb_s3.")
            for imported in imports(path)
            if imported.startswith(f"ptb_s3.{name}.")
        }
        for path in MODULES
        if module(path).startswith(f"{name}.")
    }
    TopologicalSorter({one: below & own.keys() for one, below in own.items()}).prepare()


@pytest.mark.parametrize("path", MODULES, ids=module)
def test_each_library_has_one_door(path: Path) -> None:
    """What is dangerous, slow or somebody else's is imported in one place."""
    for name in imports(path):
        allowed = DOORS.get(name.partition(".")[0])
        assert allowed is None or module(path) in allowed, f"{module(path)} imports {name}"


@pytest.mark.parametrize("pure", PURE)
def test_pure_modules_have_no_effects(pure: str) -> None:
    """No clock, network, environment or hidden randomness in what is pure."""
    paths = [path for path in MODULES if f"{module(path)}.".startswith(f"{pure}.")]
    assert paths
    found = {name.partition(".")[0] for path in paths for name in imports(path)}
    # A keyring makes new keys where it is not given the randomness.
    allowed = {"secrets"} if pure == "_keys.keyring" else set()
    assert not (found & EFFECTS) - allowed


def test_one_module_reads_the_environment() -> None:
    """`os.environ` is read and written in one module."""
    readers = {module(p) for p in MODULES if "environ" in p.read_text().replace("environment", "")}
    assert readers <= {"_environment"}


def test_importing_the_library_loads_no_heavy_one() -> None:
    """aioboto3 waits until it is needed, and telegram until a bot is made."""
    heavy = ("aioboto3", "botocore", "dotenv", "typer", "rich")
    code = (
        "import sys, ptb_s3; assert 'telegram' not in sys.modules;"
        "import telegram.ext; theirs = set(sys.modules);"  # httpx takes rich where it finds click
        "ptb_s3.S3Persistence('b', keyring=ptb_s3.Keyring(ptb_s3.Key.generate()));"
        f"print([name for name in {heavy} if name in set(sys.modules) - theirs])"
    )
    ran = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_importing_the_library_imports_no_host() -> None:
    """Whoever polls has no web server in memory, nor what it takes to import one."""
    code = (
        "import sys, ptb_s3, ptb_s3.serverless; ptb_s3.S3Persistence, ptb_s3.PersistentApplication;"
        "print([name for name in sys.modules if name.startswith('ptb_s3.hosts')])"
    )
    ran = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    """What `__all__` promises can be imported, and nothing else is made up."""
    for name in ptb_s3.__all__:
        assert getattr(ptb_s3, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        ptb_s3.Nothing  # noqa: B018  # type: ignore[attr-defined]  # that is the test
