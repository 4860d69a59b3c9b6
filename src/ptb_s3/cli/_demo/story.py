"""The demo's story: seven steps, and what must hold in each."""

from __future__ import annotations

from ptb_s3._keys.keyring import Key
from ptb_s3.cli._demo.cast import Cast, CastError, Refusal
from ptb_s3.cli._demo.customer import ID
from ptb_s3.cli._demo.stage import BUCKET, Json, Stage
from ptb_s3.cli._demo.teller import StepFailedError, Teller
from ptb_s3.cli._seaweedfs import EmbeddedServer
from ptb_s3.errors import PersistenceError

OBJECTS = ["bot_data", "callback_data", "chat_data", "conversations", "head", "user_data"]
TEA, OTHER_TEA = "Moonlight Oolong", "Smoky Lapsang"
ADDRESS, OTHER_ADDRESS = "12 Canary Lane, Whitby", "3 Bay Street, Robin Hood's Bay"
CONVERSATION = "tea-order"
_KILLED = -9  # what a process ends with that was killed by SIGKILL


async def tell(server: EmbeddedServer, teller: Teller) -> bool:
    """Go through all steps, and return whether every one of them held."""
    async with Cast(server.environment) as cast:
        stage = Stage(cast, teller, server.endpoint_url)
        for number, (title, step) in enumerate(STEPS, start=1):
            teller.chapter(number, title)
            try:
                await step(stage)
            except (StepFailedError, CastError, PersistenceError, OSError) as error:
                teller.failure(number, title, error)
                return False
    return True


async def _bucket_and_key(stage: Stage) -> None:
    teller, where = stage.teller, stage.endpoint_url
    stage.actors["outsider"] = await stage.cast.start("The outsider", "ptb_s3.cli._demo.outsider")
    await stage.prepare("A", stage.first_key)
    teller.say(f"SeaweedFS, a real S3 server, listens on {where}.")
    await stage.ask(stage.actors["outsider"], "make_bucket", bucket=BUCKET, endpoint_url=where)
    objects = await stage.survey()
    teller.check(not objects, f"Bucket {BUCKET!r} keeps versions, and is empty.", objects)
    teller.say(f"Key {stage.first_key.id} is new. That is its id; the key is never shown.")


async def _killed(stage: Stage) -> None:
    teller = stage.teller
    a = await stage.begin("A")
    await stage.prepare("B", stage.first_key)
    await stage.writes(a, "/start", "Which tea")
    await stage.presses(a, TEA, "How many packets")
    await stage.writes(a, "3", "Where shall I send it?")
    stage.revision = (await stage.ask(a, "save"))["revision"]
    found = [o["revision"] for o in await stage.survey() if o["name"] == "head"]
    claim = f"Saved: revision {stage.revision} is in the bucket."
    teller.check(found == [stage.revision], claim, found)
    stage.state = await stage.ask(a, "look")
    code = await a.kill()
    claim = f"Process A (pid {a.pid}) is killed with SIGKILL, its question still open."
    teller.check(code == _KILLED, claim, f"exit code {code}")


async def _taken_over(stage: Stage) -> None:
    teller = stage.teller
    teller.say("Process B has the bucket's name, the key and an empty folder. No more.")
    b = await stage.begin("B")
    await stage.prepare("C", stage.second_key, stage.first_key)
    state = await stage.ask(b, "look")
    claim = "Data of user, chat and bot are what process A had."
    teller.check(state == stage.state != {}, claim, state)
    thanks = f"Order 1: 3 packets of {TEA}, to {ADDRESS}"
    await stage.writes(b, ADDRESS, thanks)
    teller.holds("The conversation went on where it stood.")
    await stage.presses(b, OTHER_TEA, f"How many packets of {OTHER_TEA}")
    teller.holds("A keyboard that process A had sent still works.")
    await stage.stop(b)


async def _seen_from_outside(stage: Stage) -> None:
    teller = stage.teller
    objects = await stage.survey()
    names = [entry["name"] for entry in objects]
    teller.check(names == OBJECTS, "Six objects, whatever the bot has to remember:", names)
    teller.table(
        ["object", "bytes", "versions"],
        [[o["name"], str(o["bytes"]), str(len(o["versions"]))] for o in objects],
    )
    sample = next(entry for entry in objects if entry["name"] == "user_data")
    teller.say(f"user_data begins {sample['ciphertext']} ...")
    secrets = [TEA, OTHER_TEA, ADDRESS, CONVERSATION, str(ID)]
    answer = await stage.ask(stage.actors["outsider"], "search", texts=secrets)
    claim = (
        f"Teas, address, conversation and her id {ID} are nowhere in all {answer['versions']} "
        f"versions, {answer['bytes']} bytes."
    )
    teller.check(answer["bytes"] > 0 and not answer["found"], claim, answer["found"])


async def _rotated(stage: Stage) -> None:
    teller, new = stage.teller, stage.second_key.id
    teller.say(
        f"Process C has the new key {new} in PTB_S3_KEY, and the old one in PTB_S3_RETIRED_KEYS."
    )
    c = await stage.begin("C")
    await stage.prepare("D", stage.second_key)
    await stage.writes(c, "2", f"2 packets of {OTHER_TEA}. Where")
    await stage.stop(c)
    keys = {entry["name"]: entry["key"] for entry in await stage.survey()}
    held = set(keys.values()) == {new}
    teller.check(held, "Every object is sealed with the new key now.", keys)
    teller.say("Process D has the new key alone.")
    d = await stage.begin("D")
    await stage.prepare("E", stage.second_key, stage.first_key, PTB_S3_RESTORE=str(stage.revision))
    await stage.writes(d, OTHER_ADDRESS, f"Order 2: 2 packets of {OTHER_TEA}")
    stage.newest = (await stage.stop(d))["revision"]
    teller.holds("It reads everything, and goes on.")


async def _gone_back(stage: Stage) -> None:
    teller, request = stage.teller, str(stage.revision)
    teller.say(
        f"Process E has PTB_S3_RESTORE={request}, and both keys: the old one sealed that revision."
    )
    e = await stage.begin("E")
    await stage.prepare("F", stage.second_key, stage.first_key, PTB_S3_RESTORE=request)
    state = await stage.ask(e, "look")
    teller.check(state == stage.state, "All is as when process A was killed: no order yet.", state)
    claim = f"It is a new revision, {stage.newest + 1}; those before it stay as they are."
    teller.check(e.revision == stage.newest + 1, claim, e.revision)
    await stage.writes(e, OTHER_ADDRESS, f"Order 1: 3 packets of {TEA}, to {OTHER_ADDRESS}")
    state = await stage.ask(e, "look")
    revision = (await stage.stop(e))["revision"]
    teller.say("Process F has the same variables.")
    f = await stage.begin("F")
    await stage.prepare("G", Key.generate())
    found = await stage.ask(f, "look")
    claim = "It does not go back again: the order of a moment ago is there."
    teller.check(found == state and f.revision == revision, claim, found)
    await stage.stop(f)


async def _kept_out(stage: Stage) -> None:
    teller = stage.teller
    before = await stage.survey()
    try:
        await stage.begin("G")
    except Refusal as refusal:
        error = refusal.error
    else:
        error = "that it started"
    claim = "Process G, with another key, does not start: UnknownKeyError."
    teller.check(error == "UnknownKeyError", claim, error)
    after = await stage.survey()
    teller.check(after == before != [], "The bucket is as it was.", _difference(before, after))
    await stage.stop(stage.actors["outsider"])


def _difference(before: list[Json], after: list[Json]) -> list[str]:
    return [entry["name"] for entry in after if entry not in before]


STEPS = (
    ("A bucket and a key", _bucket_and_key),
    ("Process A takes an order, and is killed", _killed),
    ("Process B finishes the order", _taken_over),
    ("What an outsider sees", _seen_from_outside),
    ("A new key, by configuration alone", _rotated),
    ("Back to where process A was killed", _gone_back),
    ("Without the key, nothing", _kept_out),
)
