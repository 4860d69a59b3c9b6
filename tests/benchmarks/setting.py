"""What all measurements share: sizes, places, and PTB's `Application`, offline."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from telegram.ext import Application, ApplicationBuilder, PersistenceInput

from ptb_s3.cli._demo.offline import TOKEN, OfflineTelegram

App = Application[Any, Any, Any, Any, Any, Any]

BUCKET = "benchmark"
# `PicklePersistence` reads its whole file once more for each kind that is empty, as callback_data
# is in most bots. Left out, so that its starts are as fast as they can be.
STORED = PersistenceInput(callback_data=False)


@dataclass(frozen=True)
class Setting:
    """What the measurements of one size and one kind of data share.

    Attributes:
        users: How many the bot has.
        data: The kind of data: a name in `data.KINDS`.
        samples: How many intervals are watched for stalls.
        intervals: How many are averaged for the bytes sent.
        versions: How many versions of head there are where a state is looked for among them.
        jobs: How many jobs wait, where they are what is measured.
        folder: Where files lie.
        endpoint_url: The S3 server, on loopback.
        environment: Lets us into it.
    """

    users: int
    data: str
    samples: int
    intervals: int
    versions: int
    jobs: int
    folder: Path
    endpoint_url: str
    environment: dict[str, str] = field(repr=False, hash=False)

    @property
    def one_per_cent(self) -> int:
        """Users that change in an interval that is watched for stalls."""
        return max(1, self.users // 100)

    @property
    def a_few(self) -> int:
        """Users that change where that must be as many at every size."""
        return min(100, self.users)

    @property
    def at_work(self) -> int:
        """Users that change in an average minute: one in a thousand, and at least ten."""
        return min(self.users, max(10, self.users // 1000))

    @property
    def prefix(self) -> str:
        """What the names of this setting's objects begin with."""
        return f"{self.data}-{self.users}/"

    @property
    def pickle_file(self) -> Path:
        """Where `PicklePersistence` keeps everything."""
        return self.folder / f"{self.data}-{self.users}.pickle"

    @property
    def dict_file(self) -> Path:
        """All of the data as one dict in one plain pickle: the yardstick of a cold start."""
        return self.folder / f"{self.data}-{self.users}.dict"

    def enter(self) -> None:
        """Let this process in, whatever AWS settings and proxies its environment holds."""
        for name in list(os.environ):
            if name.startswith(("AWS_", "PTB_S3_")) or name.lower().endswith("_proxy"):
                del os.environ[name]
        os.environ |= {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            **self.environment,
        }


def application(persistence: Any, cls: type[App] = Application) -> App:
    """Make a bot that never meets Telegram, on a persistence."""
    app: App = (
        ApplicationBuilder()
        .application_class(cls)
        .token(TOKEN)
        .request(OfflineTelegram())
        .get_updates_request(OfflineTelegram())
        .job_queue(None)
        .persistence(persistence)
        .build()
    )
    return app
