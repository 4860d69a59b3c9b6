"""Ring: key source that can say which keys it has."""

from __future__ import annotations

from typing import Protocol

from ptb_s3._format.key_source import KeySource


class Ring(KeySource, Protocol):
    """Key source of the settings: a `Keyring`, or a `KmsKeyring` where AWS KMS keeps a key."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids of the keys that open current objects, the sealing one's first."""
        ...

    @property
    def is_named(self) -> bool:
        """Return whether the id of the sealing key is known: KMS tells that of an alias."""
        ...

    @property
    def history_ids(self) -> tuple[str, ...]:
        """Return the ids of the keys that open older versions alone."""
        ...

    @property
    def kms_ids(self) -> tuple[str, ...]:
        """Return the ids of the keys that AWS KMS keeps."""
        ...
