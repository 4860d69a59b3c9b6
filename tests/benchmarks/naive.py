"""The S3 persistence that people write by hand: in each interval, one upload of one whole pickle.

As good as that design gets: it uploads once per interval and not once per user, and keeps no second
copy of what it has loaded; so it cannot tell whether anything has changed, and PTB sends bot_data
each time. It is written for nothing but to be measured: no encryption, no second writer.
"""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

from telegram.ext import BasePersistence, PersistenceInput

_NAME = "state.pickle"


class NaiveS3Persistence(BasePersistence[Any, Any, Any]):
    """One object that holds everything, by botocore's blocking client, as with boto3.

    Attributes:
        uploads: How often it was sent.
        sent: Bytes of all of that.
    """

    def __init__(
        self, bucket: str, prefix: str, endpoint_url: str, store_data: PersistenceInput
    ) -> None:
        super().__init__(store_data=store_data)
        self.uploads = self.sent = 0
        self._place = {"Bucket": bucket, "Key": prefix + _NAME}
        self._endpoint_url = endpoint_url
        self._client: Any = None
        self._state: dict[str, Any] | None = None
        self._uploading: asyncio.Task[None] | None = None

    def connect(self) -> None:
        """Make the client, which is measured by itself."""
        from botocore.session import get_session  # noqa: PLC0415 - it is part of the cost

        session = get_session()
        self._client = session.create_client("s3", endpoint_url=self._endpoint_url)

    def download(self) -> bytes:
        """Return the whole object."""
        body: bytes = self._client.get_object(**self._place)["Body"].read()
        return body

    def upload(self) -> None:
        """Send everything, holding up the loop meanwhile."""
        body = pickle.dumps(self._state, pickle.HIGHEST_PROTOCOL)
        self._client.put_object(**self._place, Body=body)
        self.uploads += 1
        self.sent += len(body)

    @property
    def state(self) -> dict[str, Any]:
        """Everything, loaded at the first use."""
        if self._state is None:
            try:
                self._state = pickle.loads(self.download())  # noqa: S301 - we have written it
            except self._client.exceptions.NoSuchKey:
                self._state = {"users": {}, "chats": {}, "bot": {}, "conversations": {}}
        return self._state

    async def _changed(self) -> None:
        """Upload in the next tick, once for all calls of this one; all of them wait for it."""
        if self._uploading is None:
            self._uploading = asyncio.create_task(self._upload_later())
        await self._uploading

    async def _upload_later(self) -> None:
        self._uploading = None
        self.upload()

    async def get_user_data(self) -> dict[int, Any]:
        return dict(self.state["users"])

    async def get_chat_data(self) -> dict[int, Any]:
        return dict(self.state["chats"])

    async def get_bot_data(self) -> dict[Any, Any]:
        return dict(self.state["bot"])

    async def get_callback_data(self) -> None:
        return None

    async def get_conversations(self, name: str) -> dict[Any, Any]:
        return dict(self.state["conversations"].get(name, {}))

    async def update_user_data(self, user_id: int, data: Any) -> None:
        self.state["users"][user_id] = data
        await self._changed()

    async def update_chat_data(self, chat_id: int, data: Any) -> None:
        self.state["chats"][chat_id] = data
        await self._changed()

    async def update_bot_data(self, data: Any) -> None:
        self.state["bot"] = data
        await self._changed()

    async def update_callback_data(self, data: Any) -> None: ...

    async def update_conversation(self, name: str, key: Any, new_state: object | None) -> None:
        self.state["conversations"].setdefault(name, {})[key] = new_state
        await self._changed()

    async def drop_user_data(self, user_id: int) -> None:
        self.state["users"].pop(user_id, None)
        await self._changed()

    async def drop_chat_data(self, chat_id: int) -> None:
        self.state["chats"].pop(chat_id, None)
        await self._changed()

    async def refresh_user_data(self, user_id: int, user_data: Any) -> None: ...

    async def refresh_chat_data(self, chat_id: int, chat_data: Any) -> None: ...

    async def refresh_bot_data(self, bot_data: Any) -> None: ...

    async def flush(self) -> None:
        self.upload()
