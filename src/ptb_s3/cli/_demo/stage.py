"""Stage of the demo: the processes, the customer, and how they meet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ptb_s3._keys.keyring import Key
from ptb_s3.cli._demo.cast import Actor, Cast
from ptb_s3.cli._demo.customer import NAME, Customer
from ptb_s3.cli._demo.teller import StepFailedError, Teller

Json = dict[str, Any]

BUCKET = "tea-shop"


@dataclass
class Stage:
    """Stage that the steps of the demo share.

    Attributes:
        cast: Starts processes.
        teller: Says what happens.
        endpoint_url: The storage.
        first_key: The key of steps 1 to 4.
        second_key: The one it is rotated to.
        customer: Who orders the tea.
        actors: The processes by name; each is started while the one before it is at work.
        revision: The last commit of process A.
        newest: The last commit of process D.
        state: What process A had in memory then.
    """

    cast: Cast
    teller: Teller
    endpoint_url: str
    first_key: Key = field(default_factory=Key.generate)
    second_key: Key = field(default_factory=Key.generate)
    customer: Customer = field(default_factory=Customer)
    actors: dict[str, Actor] = field(default_factory=dict)
    revision: int = 0
    newest: int = 0
    state: Json = field(default_factory=dict)

    async def prepare(self, letter: str, key: Key, *retired: Key, **variables: str) -> None:
        """Start a process of the bot. It waits, its modules imported, and looks at nothing yet."""
        self.actors[letter] = await self.cast.start(
            f"Process {letter}",
            "ptb_s3.cli._demo.process",
            PTB_S3_BUCKET=BUCKET,
            PTB_S3_ENDPOINT_URL=self.endpoint_url,
            PTB_S3_KEY=key.reveal(),
            PTB_S3_RETIRED_KEYS=",".join(old.reveal() for old in retired),
            **variables,
        )

    async def begin(self, letter: str) -> Actor:
        """Let a process read the bucket and start the bot."""
        actor = self.actors[letter]
        with self.teller.waiting(f"{actor.name} is starting"):
            actor.revision = (await actor.ask("start"))["revision"]
        return actor

    async def ask(self, actor: Actor, do: str, **arguments: object) -> Json:
        """Give a command, with something to look at until it is answered."""
        with self.teller.waiting(f"{actor.name}: {do.replace('_', ' ')}"):
            return await actor.ask(do, **arguments)

    async def writes(self, bot: Actor, text: str, expected: str) -> None:
        """Send a message to the bot, and check its answer."""
        self.teller.chat(NAME, text)
        await self._update(bot, self.customer.writes(text), expected)

    async def presses(self, bot: Actor, label: str, expected: str) -> None:
        """Press a button, and check the bot's answer."""
        self.teller.chat(NAME, "presses", [label])
        await self._update(bot, self.customer.presses(label), expected)

    async def _update(self, bot: Actor, update: Json, expected: str) -> None:
        answer = await bot.ask("update", update=update)
        replies = self.customer.receives(answer["sent"])
        for text, buttons in replies:
            self.teller.chat("Bot", text, buttons)
        if not any(expected in text for text, _ in replies):
            said = "; ".join(text for text, _ in replies) or "nothing"
            raise StepFailedError(f"the bot says {expected!r}.", said)

    async def survey(self) -> list[Json]:
        """Look at the bucket with an outsider's eyes."""
        answer = await self.ask(self.actors["outsider"], "survey")
        objects: list[Json] = answer["objects"]
        return objects

    async def stop(self, actor: Actor) -> Json:
        """Let a process end in good order, which flushes."""
        with self.teller.waiting(f"{actor.name} is ending"):
            return await actor.stop()
