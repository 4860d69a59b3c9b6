"""The public interface is what is stated here, and nothing else."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from telegram.ext import Application, BasePersistence, JobQueue

import ptb_s3
from ptb_s3 import PersistentApplication, PersistentJobQueue, S3Persistence
from ptb_s3._options import Options
from ptb_s3.testing import MemoryPersistence

SOURCE = Path(ptb_s3.__file__).parent
PUBLIC = {
    "ptb_s3": [
        *("AddressingStyle", "Key", "KeyService", "KeySource", "Keyring", "KmsKeyring"),
        *("Merge", "OnConflict", "OnLoss"),
        *("PersistentApplication", "PersistentJob", "PersistentJobQueue", "PickleSerializer"),
        *("S3Persistence", "SealedHeader"),
        *("SealingKey", "Serializer", "Stats", "Sync", "__version__", "merge_values"),
    ],
    "ptb_s3.application": ["PersistentApplication"],
    "ptb_s3.hosts": ["builder_from_env"],
    "ptb_s3.hosts.aws_lambda": ["Context", "handler_for"],
    "ptb_s3.hosts.webhook": ["main"],
    "ptb_s3.job_queue": ["PersistentJobQueue"],
    "ptb_s3.persistence": ["ConversationKey", "S3Persistence"],
    "ptb_s3.serverless": [
        *("CommittedState", "begin", "close", "committed", "compact", "deliver", "run_due"),
    ],
    "ptb_s3.settings": [
        *("KeySettings", "Settings", "describe", "load_key_settings", "load_settings"),
        "load_settings_of",
    ],
    "ptb_s3.testing": ["MemoryPersistence", "memory_persistence"],
}
OWN: dict[type, set[str]] = {
    S3Persistence: {
        *("catch_up", "close", "commit", "from_env", "stats"),
        *("context_types", "flush_timeout", "unsaved"),
    },
    PersistentApplication: {"prefetch"},
    PersistentJobQueue: {"scheduler"},
    MemoryPersistence: {"restarted"},
}
"""Attributes that a class adds to those of its base."""


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public(name: str) -> None:
    """`__all__` is this, sorted, and all of it can be imported."""
    module = import_module(name)
    assert module.__all__ == PUBLIC[name] == sorted(PUBLIC[name])
    for public in module.__all__:
        assert getattr(module, public) is not None


def test_every_root_module_says_what_is_public() -> None:
    """There is none without `__all__`, and none that this test does not know, but errors."""
    roots = {path.stem for path in SOURCE.glob("[!_]*.py")}
    hosts = {f"hosts.{path.stem}" for path in (SOURCE / "hosts").glob("[!_]*.py")}
    roots |= {"hosts", *hosts}
    assert roots == {name.partition(".")[2] for name in PUBLIC if "." in name} | {"errors"}
    errors: Any = import_module("ptb_s3.errors")
    assert errors.__all__ == sorted(errors.__all__)


def test_dir_shows_the_public_names() -> None:
    """Also those that nobody has imported yet; and no other."""
    assert dir(ptb_s3) == ptb_s3.__all__


@pytest.mark.parametrize(
    ("cls", "base"),
    [
        (S3Persistence, BasePersistence),
        (PersistentApplication, Application),
        (PersistentJobQueue, JobQueue),
        (MemoryPersistence, S3Persistence),
    ],
)
def test_what_a_class_adds(cls: type, base: type) -> None:
    """Whatever is no business of a user's begins with an underscore."""
    added = {name for name in vars(cls) if not name.startswith("_")}
    added -= {name for name in dir(base) if not name.startswith("_")}
    attributes = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(cls)))
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and not node.attr.startswith("_")
    }
    assert added | attributes == OWN[cls]


def test_signatures_list_every_option() -> None:
    """`help` shows them, though the code takes any; defaults are those that are checked."""
    shown = inspect.signature(S3Persistence).parameters
    checked = inspect.signature(Options).parameters
    assert shown.keys() == checked.keys()
    assert all(shown[name].default == checked[name].default for name in shown)
    given = inspect.signature(S3Persistence.from_env).parameters
    assert given.keys() - shown.keys() == {"env_file"}
    assert given["context_types"].default is None


@pytest.mark.parametrize("option", ["nothing", "bot"])
def test_an_unknown_option_is_an_error(option: str) -> None:
    """As it is of any function."""
    options: dict[str, Any] = {option: 1}
    with pytest.raises(TypeError, match=option):
        S3Persistence("bucket", keyring=ptb_s3.Keyring(ptb_s3.Key.generate()), **options)
