"""Scenario of the demo: its processes, its customer, and the actions that steps are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ptb_s3._keys.keyring import Key
from ptb_s3.cli._demo.customer import NAME, Customer
from ptb_s3.cli._demo.narration import Narrator, StepFailedError
from ptb_s3.cli._demo.processes import Process, Processes

Json = dict[str, Any]

BUCKET = "tea-shop"


@dataclass
class Scenario:
    """State that the steps of the demo share, and hand on from one to the next.

    Attributes:
        group: Starts processes, and kills them in the end.
        narrator: Prints what happens.
        endpoint_url: The storage.
        first_key: The key of steps 1 to 4.
        second_key: The key that it is rotated to.
        customer: Makes the updates, and takes the bot's messages.
        processes: The processes by letter; each is started while the one before it is at work.
        revision: The last commit of process A.
        newest: The last commit of process D.
        state: The state in the memory of process A as of that commit.
    """

    group: Processes
    narrator: Narrator
    endpoint_url: str
    first_key: Key = field(default_factory=Key.generate)
    second_key: Key = field(default_factory=Key.generate)
    customer: Customer = field(default_factory=Customer)
    processes: dict[str, Process] = field(default_factory=dict)
    revision: int = 0
    newest: int = 0
    state: Json = field(default_factory=dict)

    async def prepare(self, letter: str, key: Key, *retired: Key, **variables: str) -> None:
        """Start a process of the bot, which waits for ``start`` with its modules imported."""
        self.processes[letter] = await self.group.start(
            f"Process {letter}",
            "ptb_s3.cli._demo.bot_process",
            PTB_S3_BUCKET=BUCKET,
            PTB_S3_ENDPOINT_URL=self.endpoint_url,
            PTB_S3_KEY=key.reveal(),
            PTB_S3_RETIRED_KEYS=",".join(old.reveal() for old in retired),
            **variables,
        )

    async def begin(self, letter: str) -> Process:
        """Let a process read the bucket and start the bot."""
        process = self.processes[letter]
        with self.narrator.waiting(f"{process.name} is starting"):
            process.revision = (await process.ask("start"))["revision"]
        return process

    async def ask(self, process: Process, do: str, **arguments: object) -> Json:
        """Give a command, and show that it is under way until it is answered."""
        with self.narrator.waiting(f"{process.name}: {do.replace('_', ' ')}"):
            return await process.ask(do, **arguments)

    async def writes(self, bot: Process, text: str, expected: str) -> None:
        """Send a message to the bot, and check its answer."""
        self.narrator.chat(NAME, text)
        await self._update(bot, self.customer.writes(text), expected)

    async def presses(self, bot: Process, label: str, expected: str) -> None:
        """Press a button, and check the bot's answer."""
        self.narrator.chat(NAME, "presses", [label])
        await self._update(bot, self.customer.presses(label), expected)

    async def _update(self, bot: Process, update: Json, expected: str) -> None:
        answer = await bot.ask("update", update=update)
        replies = self.customer.receives(answer["sent"])
        for text, buttons in replies:
            self.narrator.chat("Bot", text, buttons)
        if not any(expected in text for text, _ in replies):
            said = "; ".join(text for text, _ in replies) or "nothing"
            raise StepFailedError(f"the bot says {expected!r}.", said)

    async def survey(self) -> list[Json]:
        """Return the objects of the bucket as the outsider sees them."""
        answer = await self.ask(self.processes["outsider"], "survey")
        objects: list[Json] = answer["objects"]
        return objects

    async def stop(self, process: Process) -> Json:
        """End a process in good order, which flushes."""
        with self.narrator.waiting(f"{process.name} is ending"):
            return await process.stop()
