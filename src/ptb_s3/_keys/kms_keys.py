"""Keys that AWS KMS keeps: a data key for this process, and those of others, as KMS unwraps them.

::

    seal    GenerateDataKey, once for a process  ->  data key, and the same wrapped
    open    Decrypt, once for each wrapped key   ->  data key

Every object has the wrapped key in its header. The KMS key itself never leaves KMS, and a data key
never leaves the memory of a process. After the first answer, a commit asks KMS for nothing.

A fork goes on with the data key of its parent. It is as good there: each object has a fresh key
derived from it (Cobblestone-256). Connections are another matter (`ptb_s3._storage.link`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ptb_s3._format.key_source import SEAL_KEY_BYTES, KeptInMemory, SealedHeader, SealingKey
from ptb_s3._keys.data_keys import DataKeys, Flights, Wrapped
from ptb_s3._keys.kms_names import KmsKey, answered_key
from ptb_s3._storage.kms import KmsClient
from ptb_s3.errors import KeyServiceError

if TYPE_CHECKING:
    import aioboto3


class KmsKeys(KeptInMemory):
    """Keys in AWS KMS: at most one that seals, and others that only open.

    Args:
        sealing: Key whose data keys seal; None: another kind of key does.
        retired: Keys whose data keys current objects may be sealed with.
        region_name: Region of keys that do not say theirs, where the AWS settings say none.
        session: An `aioboto3.Session` to take credentials from; None makes one.
    """

    def __init__(
        self,
        sealing: KmsKey | None,
        retired: Iterable[KmsKey],
        *,
        region_name: str | None = None,
        session: aioboto3.Session | None = None,
    ) -> None:
        self._sealing = sealing
        self._keys = {key.id: key for key in retired if key.id is not None}
        if sealing is not None and sealing.id is not None:
            self._keys = {sealing.id: sealing} | self._keys
        self._region, self._session = region_name, session
        self._clients: dict[str | None, KmsClient] = {}
        self._made: SealingKey | None = None
        self._data_keys = DataKeys(self._unwrap)
        self._flights = Flights()

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids of the keys, the sealing one's first as soon as it is known."""
        return tuple(self._keys)

    @property
    def seals(self) -> bool:
        """Return whether one of them seals."""
        return self._sealing is not None

    @property
    def is_named(self) -> bool:
        """Return whether the id of the sealing key is known: an alias does not tell."""
        return self._sealing is None or self._sealing.id is not None

    def sealing_key(self) -> SealingKey:
        """Return the data key of this process.

        Raises:
            RuntimeError: None was made yet.
        """
        if self._made is None:
            raise RuntimeError("There is no data key yet: await prepare_sealing() before.")
        return self._made

    async def prepare_sealing(self) -> None:
        """Have KMS make the data key of this process, unless it has."""
        if self._sealing is not None and self._made is None:
            await self._flights.join("sealing", self._make)

    def data_key(self, header: SealedHeader) -> bytes:
        """Return the data key of an object that one of these keys has sealed.

        Raises:
            DamagedObjectError: There is none in its header.
        """
        return self._data_keys.get(header)

    async def prepare_opening(self, header: SealedHeader) -> None:
        """Have KMS unwrap the data key of an object, if it is sealed with one of these keys."""
        if self._sealing is not None and self._sealing.id is None and header.wrapped_key:
            await self.prepare_sealing()  # which tells the key behind the alias
        if header.key in self._keys:
            await self._data_keys.fetch(header)

    async def prove(self) -> None:
        """Have KMS unwrap the data key of this process again, as any other process will.

        Raises:
            PersistenceError: It does not.
        """
        made = self.sealing_key()
        wrapped = base64.b64decode(made.wrapped_key or "")
        if await self._unwrap(made.key_id, wrapped) != made.secret:
            raise KeyServiceError("KMS does not unwrap what it has just wrapped.")

    async def close(self) -> None:
        """Close the connections. They are opened again when they are needed."""
        self._flights.cancel()
        self._data_keys.cancel()
        for client in self._clients.values():
            await client.close()

    async def _make(self) -> None:
        asked = self._sealing
        assert asked is not None  # noqa: S101 - asked for nowhere else
        made = await self._client(asked).make_key(asked.name, asked.label)
        key, secret = answered_key(made.arn or "", asked), made.secret or b""
        if key is None or key.id is None or len(secret) != SEAL_KEY_BYTES or not made.wrapped:
            del made, secret
            raise KeyServiceError(
                f"Could not make a data key with {asked.label}: KMS's answer has none in it. Look "
                "at AWS_ENDPOINT_URL_KMS and AWS_ENDPOINT_URL: something else may answer there."
            )
        wrapped = base64.b64encode(made.wrapped).decode()
        self._keys = {key.id: key} | {k: v for k, v in self._keys.items() if k != key.id}
        self._sealing = key
        self._data_keys.add_own(Wrapped(key.id, wrapped), secret)
        self._made = SealingKey(key.id, secret, wrapped)

    async def _unwrap(self, key_id: str, wrapped: bytes) -> bytes | None:
        key = self._keys[key_id]
        return await self._client(key).unwrap(key.name, key.label, wrapped)

    def _client(self, key: KmsKey) -> KmsClient:
        """Return the client for a key's region."""
        if key.region not in self._clients:
            self._clients[key.region] = KmsClient(key.region, self._region, self._session)
        return self._clients[key.region]
