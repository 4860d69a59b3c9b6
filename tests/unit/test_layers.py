"""The modules are the architecture: imports run one way."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import ptb_s3

SOURCE = Path(ptb_s3.__file__).parent
# From the rim to the core: a module imports only what stands below it.
LAYERS = (
    "cli",
    "serverless",
    "_delivery",
    "_transaction",
    "application",
    "_ending",
    "persistence",
    "settings",
    "_arguments",
    "_doctor",
    "_json_files",
    "_pickle_files",
    "_ptb_maps",
    "_group_commit",
    "_rollback",
    "_asked",
    "_stop",
    "_ptb",
    "_live",
    "_refresh",
    "_blobs",
    "_staging",
    "_merge",
    "_repository",
    "_mending",
    "_recovery",
    "_current",
    "_arrivals",
    "_ahead",
    "_committer",
    "_conditions",
    "_settling",
    "_compaction",
    "_run",
    "_means",
    "_staged",
    "_rebase",
    "_thinning",
    "_retention",
    "_verify",
    "_versions",
    "_history",
    "_object_lock",
    "_listing",
    "_order",
    "_sealer",
    "_base",
    "_head_pages",
    "_head",
    "_callback_data",
    "_delivered",
    "_erasure",
    "_group",
    "_forms",
    "_keyring",
    "_differences",
    "_readable",
    "_transcoder",
    "_standins",
    "_sameness",
    "_attributes",
    "_codec",
    "_respelling",
    "_pickling",
    "_uncopied",
    "_unpickling",
    "_apart",
    "_sets",
    "_words",
    "_zones",
    "_fence",
    "_marks",
    "_remedies",
    "_own_modules",
    "_word_format",
    "_state",
    "_container",
    "_key_source",
    "_bucket",
    "_lifecycle",
    "_s3",
    "_s3_glance",
    "_s3_client",
    "_s3_deletion",
    "_s3_transport",
    "_s3_credentials",
    "_s3_listing",
    "_s3_addressing",
    "_s3_place",
    "_s3_bodies",
    "_s3_names",
    "_s3_answers",
    "_guarded",
    "_store",
    "_locks",
    "_workers",
    "_files",
    "errors",
)
ONLY_IMPORTERS = {
    "aioboto3": {"_s3_client"},
    "aiobotocore": {"_s3_client", "_s3_glance", "_s3_transport"},
    "aiohttp": {"_s3_names", "_s3_transport"},
    "botocore": {"_s3", "_s3_addressing", "_s3_client", "_s3_glance", "_s3_transport"},
    "pickle": {
        *(
            "_codec",
            "_pickling",
            "_respelling",
            "_sets",
            "_transcoder",
            "_unpickling",
            "_word_format",
            "_words",
        ),
    },
    "pydantic_settings": {"settings"},
    "dotenv": {"settings"},
    "cryptography": {"_container", "_keyring"},
    "zstandard": {"_container"},
}
PURE = (
    "_staged",
    "_rebase",
    "_merge",
    "_sealer",
    "_head_pages",
    "_head",
    "_callback_data",
    "_erasure",
    "_state",
    "_container",
    "_base",
    "_keyring",
    "_lifecycle",
    "_order",
    "_s3_listing",
    "_s3_place",
    "_arguments",
)
EFFECTS = {"asyncio", "os", "time", "random", "secrets", "socket", "logging", "threading"}


def layer(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


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


def test_every_module_has_its_place() -> None:
    """A new module is put into the list, which is the order of DESIGN's section 11."""
    assert {layer(path) for path in MODULES} == set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    """A module imports nothing that stands above it."""
    own = LAYERS.index(layer(path))
    for name in imports(path):
        package, _, rest = name.partition(".")
        module = rest.partition(".")[0]
        if package == "ptb_s3" and module in LAYERS:
            assert LAYERS.index(module) >= own, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_library_has_one_door(path: Path) -> None:
    """What is dangerous, slow or somebody else's is imported in one place."""
    for name in imports(path):
        allowed = ONLY_IMPORTERS.get(name.partition(".")[0])
        assert allowed is None or layer(path) in allowed, f"{path.name} imports {name}"


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_have_no_effects(module: str) -> None:
    """No clock, network, environment or hidden randomness below the repository."""
    found = {name.partition(".")[0] for name in imports(SOURCE / f"{module}.py")}
    # A keyring makes new keys where it is not given the randomness.
    allowed = {"secrets"} if module == "_keyring" else set()
    assert not (found & EFFECTS) - allowed


def test_only_settings_reads_the_environment() -> None:
    """`os.environ` is read and written in one module."""
    readers = {layer(p) for p in MODULES if "environ" in p.read_text().replace("environment", "")}
    assert readers <= {"settings"}


def test_importing_the_library_loads_no_heavy_one() -> None:
    """aioboto3 and pydantic wait until they are needed, and telegram until a bot is made."""
    heavy = ("aioboto3", "botocore", "pydantic", "typer", "rich")
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


def test_every_public_name_is_there() -> None:
    """What `__all__` promises can be imported, and nothing else is made up."""
    for name in ptb_s3.__all__:
        assert getattr(ptb_s3, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        ptb_s3.Nothing  # noqa: B018  # type: ignore[attr-defined]  # that is the test
