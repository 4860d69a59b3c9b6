"""Keyring some of whose keys AWS KMS keeps. Imported where one of them is configured."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ptb_s3._format.key_source import KeptInMemory, SealedHeader, SealingKey
from ptb_s3._keys.keyring import Key, as_key, as_keys, refuse_overlap
from ptb_s3._keys.kms_keys import KmsKeys
from ptb_s3._keys.kms_names import KmsKey, kms_key
from ptb_s3.errors import KeyFormatError, UnknownKeyError

if TYPE_CHECKING:
    import aioboto3


class KmsKeyring(KeptInMemory):
    """Key source that AWS KMS keeps the sealing key of, or a retired one, beside plain keys.

    Give either `kms_key_id` or `key`. To move from a plain key to KMS, give the plain one among
    `retired`; to move back, give the KMS key's ARN or id among `retired_kms_key_ids`.

    Args:
        kms_key_id: ARN, id or alias of the key in AWS KMS that seals everything from now on: a
            symmetric one that encrypts and decrypts.
        key: Plain key that seals, in its place.
        retired: Plain keys that current objects may be sealed with.
        history: Plain keys that older versions may be sealed with, and nothing current.
        retired_kms_key_ids: ARNs or ids of keys in AWS KMS that objects may be sealed with. No
            aliases: they may be pointed at another key.
        region_name: Region of keys that do not say theirs, where the AWS settings say none.
        session: An `aioboto3.Session` to take credentials from. Defaults to the AWS chain.

    Attributes:
        history_ids: Ids of the keys that open older versions alone.

    Raises:
        KeyFormatError: A text names no key, or the keys contradict each other.
    """

    def __init__(
        self,
        kms_key_id: str | None = None,
        *,
        key: str | Key | None = None,
        retired: Iterable[str | Key] = (),
        history: Iterable[str | Key] = (),
        retired_kms_key_ids: Iterable[str] = (),
        region_name: str | None = None,
        session: aioboto3.Session | None = None,
    ) -> None:
        self.history_ids: tuple[str, ...] = ()  # set first: debuggers show a refused keyring, too
        try:
            self._sealing = None if key is None else as_key(key, "The key")
            current = as_keys(retired, "Retired", "retired=[old_key]")
            older = as_keys(history, "History", "history=[leaked_key]")
            sealing = None if kms_key_id is None else kms_key(kms_key_id, _LABEL)
            opening = _retired(retired_kms_key_ids)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            del key, retired, history, kms_key_id, retired_kms_key_ids  # maybe a key, misplaced
        if (self._sealing is None) == (sealing is None):
            raise KeyFormatError("Give one key that seals: kms_key_id= or key=, and not both.")
        self._kms = KmsKeys(sealing, opening, region_name=region_name, session=session)
        first = [] if self._sealing is None else [self._sealing]
        self._plain: Mapping[str, Key] = {known.id: known for known in (*first, *current)}
        self._history: Mapping[str, Key] = {known.id: known for known in older}
        both = self._plain.keys() & self._history.keys()
        refuse_overlap("" if self._sealing is None else self._sealing.id, both)
        self.history_ids = tuple(self._history)

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids of the keys that open current objects, the sealing one's first."""
        if self._kms.seals:
            return (*self._kms.ids, *self._plain)
        return (*self._plain, *self._kms.ids)

    @property
    def kms_ids(self) -> tuple[str, ...]:
        """Return the ids of the keys that AWS KMS keeps."""
        return self._kms.ids

    @property
    def is_named(self) -> bool:
        """Return whether the id of the sealing key is known: KMS tells that of an alias."""
        return self._kms.is_named

    @property
    def kms(self) -> KmsKeys:
        """Return the keys that AWS KMS keeps."""
        return self._kms

    def sealing_key(self) -> SealingKey:
        """Return the plain key that seals, or the data key that KMS has made for this process."""
        if self._sealing is None:
            return self._kms.sealing_key()
        return SealingKey(self._sealing.id, self._sealing.seal_key)

    def opening_key(self, header: SealedHeader) -> bytes:
        """Return the key that the header of a current object names.

        Raises:
            UnknownKeyError: It is not on the ring, or it is a history key.
            DamagedObjectError: It is KMS's, and has not wrapped what the header holds.
        """
        if header.key in self._kms.ids:
            return self._kms.data_key(header)
        known = self._plain.get(header.key)
        if known is None:
            raise UnknownKeyError(
                header.object,
                header.key,
                self.ids,
                in_history=header.key in self._history,
                wrapped=header.wrapped_key is not None,
            )
        return known.seal_key

    def for_history(self) -> KmsKeyring:
        """Return a keyring for older versions, on which every key opens.

        It shares what KMS has answered.
        """
        widened = object.__new__(KmsKeyring)
        widened._sealing, widened._kms = self._sealing, self._kms
        widened._plain, widened._history = {**self._plain, **self._history}, {}
        widened.history_ids = ()
        return widened

    async def prepare_sealing(self) -> None:
        """Have KMS make the data key of this process, if it seals and has made none."""
        await self._kms.prepare_sealing()

    async def prepare_opening(self, header: SealedHeader) -> None:
        """Have KMS unwrap the data key of an object, if one of its keys has sealed that."""
        if header.key not in self._plain:
            await self._kms.prepare_opening(header)

    async def close(self) -> None:
        """Close the connections to KMS. They are opened again when they are needed."""
        await self._kms.close()

    def __repr__(self) -> str:
        if not hasattr(self, "_history"):
            return "<KmsKeyring refused>"
        older = f"; history: {' '.join(self.history_ids)}" if self.history_ids else ""
        named = "" if self._kms.is_named else "an alias "
        return f"<KmsKeyring {named}{' '.join(self.ids)}{older}>"


_LABEL = "the key in PTB_S3_KMS_KEY_ID"


def _retired(names: Iterable[str]) -> list[KmsKey]:
    """Parse the names of retired KMS keys. A single text is refused, as of plain keys."""
    if isinstance(names, str):
        raise KeyFormatError("Retired KMS keys are given as a list: retired_kms_key_ids=[arn].")
    label = "key {} in PTB_S3_RETIRED_KMS_KEY_IDS"
    return [kms_key(name, label.format(n), opens=True) for n, name in enumerate(names, start=1)]
