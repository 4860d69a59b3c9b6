"""Encrypted cloud persistence for python-telegram-bot.

from ptb_s3 import S3Persistence

persistence = S3Persistence.from_env()
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptb_s3._format.key_source import KeySource, SealedHeader, SealingKey
    from ptb_s3._keys.keyring import Key, Keyring
    from ptb_s3._values.merge import merge_values
    from ptb_s3._values.serializer import PickleSerializer, Serializer
    from ptb_s3.application import PersistentApplication
    from ptb_s3.persistence import S3Persistence, Stats

__all__ = [
    "Key",
    "KeySource",
    "Keyring",
    "PersistentApplication",
    "PickleSerializer",
    "S3Persistence",
    "SealedHeader",
    "SealingKey",
    "Serializer",
    "Stats",
    "merge_values",
]

_HOMES = {
    "_values.serializer": ("PickleSerializer", "Serializer"),
    "_format.key_source": ("KeySource", "SealedHeader", "SealingKey"),
    "_keys.keyring": ("Key", "Keyring"),
    "_values.merge": ("merge_values",),
    "application": ("PersistentApplication",),
    "persistence": ("S3Persistence", "Stats"),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used.

    The command line imports this package, and should not wait a second for telegram.ext to show
    its help.
    """
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
