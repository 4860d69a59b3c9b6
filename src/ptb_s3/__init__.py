"""Encrypted cloud persistence for python-telegram-bot.

.. code:: python

    from ptb_s3 import S3Persistence

    persistence = S3Persistence.from_env()

Public are the names in ``__all__`` here, and those of these modules:

* `ptb_s3.errors`: errors, each with what to do about it;
* `ptb_s3.hosts`: what runs a bot on AWS Lambda, and as a service behind a URL;
* `ptb_s3.serverless`: one call for each update, on hosts such as AWS Lambda;
* `ptb_s3.settings`: the ``PTB_S3_*`` variables;
* `ptb_s3.testing`: a persistence in memory, for the tests of a bot.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptb_s3._engine.stats import Stats
    from ptb_s3._format.key_source import KeyService, KeySource, SealedHeader, SealingKey
    from ptb_s3._jobs.job import PersistentJob
    from ptb_s3._keys.keyring import Key, Keyring
    from ptb_s3._keys.kms_keyring import KmsKeyring
    from ptb_s3._options import AddressingStyle, OnLoss, Sync
    from ptb_s3._ptb.transaction import OnConflict
    from ptb_s3._values.merge import Merge, merge_values
    from ptb_s3._values.serializer import PickleSerializer, Serializer
    from ptb_s3.application import PersistentApplication
    from ptb_s3.job_queue import PersistentJobQueue
    from ptb_s3.persistence import S3Persistence

    __version__: str

__all__ = [
    "AddressingStyle",
    "Key",
    "KeyService",
    "KeySource",
    "Keyring",
    "KmsKeyring",
    "Merge",
    "OnConflict",
    "OnLoss",
    "PersistentApplication",
    "PersistentJob",
    "PersistentJobQueue",
    "PickleSerializer",
    "S3Persistence",
    "SealedHeader",
    "SealingKey",
    "Serializer",
    "Stats",
    "Sync",
    "__version__",
    "merge_values",
]

_HOMES = {
    "_engine.stats": ("Stats",),
    "_format.key_source": ("KeyService", "KeySource", "SealedHeader", "SealingKey"),
    "_jobs.job": ("PersistentJob",),
    "_keys.keyring": ("Key", "Keyring"),
    "_keys.kms_keyring": ("KmsKeyring",),
    "_options": ("AddressingStyle", "OnLoss", "Sync"),
    "_ptb.transaction": ("OnConflict",),
    "_values.merge": ("Merge", "merge_values"),
    "_values.serializer": ("PickleSerializer", "Serializer"),
    "application": ("PersistentApplication",),
    "job_queue": ("PersistentJobQueue",),
    "persistence": ("S3Persistence",),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used.

    The command line imports this package, and should not wait a second for telegram.ext before it
    shows its help.
    """
    if name == "__version__":
        return import_module("importlib.metadata").version("ptb-s3")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, whether they were imported already or not."""
    return sorted(__all__)
