"""Steps of the demo, in order, each with the claims that must hold in it.

Process A takes an order and is killed, B takes over, C has the new key, D that key alone, E goes
back to A's revision, F has the same settings as E, and G another key.
"""

from __future__ import annotations

from ptb_s3._keys.keyring import Key
from ptb_s3.cli._demo.customer import ID
from ptb_s3.cli._demo.narration import Narrator, StepFailedError
from ptb_s3.cli._demo.processes import Processes, ProcessFailedError, RefusedError
from ptb_s3.cli._demo.scenario import BUCKET, Json, Scenario
from ptb_s3.cli._server_process import EmbeddedServer
from ptb_s3.errors import PersistenceError

OBJECTS = ["bot_data", "callback_data", "chat_data", "conversations", "head", "user_data"]
TEA, OTHER_TEA = "Moonlight Oolong", "Smoky Lapsang"
ADDRESS, OTHER_ADDRESS = "12 Canary Lane, Whitby", "3 Bay Street, Robin Hood's Bay"
CONVERSATION = "tea-order"
_KILLED = -9  # exit code of a process that was killed by SIGKILL, as asyncio gives it


async def run_steps(server: EmbeddedServer, narrator: Narrator) -> bool:
    """Go through all steps, and return whether every one of them held."""
    async with Processes(server.environment) as group:
        scenario = Scenario(group, narrator, server.endpoint_url)
        for number, (title, step) in enumerate(STEPS, start=1):
            narrator.chapter(number, title)
            try:
                await step(scenario)
            except (StepFailedError, ProcessFailedError, PersistenceError, OSError) as error:
                narrator.failure(number, title, error)
                return False
    return True


async def _bucket_and_key(scenario: Scenario) -> None:
    """Make a bucket with versioning, and a key."""
    narrator, where = scenario.narrator, scenario.endpoint_url
    scenario.processes["outsider"] = await scenario.group.start(
        "The outsider", "ptb_s3.cli._demo.outsider"
    )
    await scenario.prepare("A", scenario.first_key)
    narrator.say(f"SeaweedFS, a real S3 server, listens on {where}.")
    await scenario.ask(
        scenario.processes["outsider"], "make_bucket", bucket=BUCKET, endpoint_url=where
    )
    objects = await scenario.survey()
    narrator.check(not objects, f"Bucket {BUCKET!r} keeps versions, and is empty.", objects)
    narrator.say(f"Key {scenario.first_key.id} is new. That is its id; the key is never shown.")


async def _killed(scenario: Scenario) -> None:
    """Kill process A in the middle of a conversation, right after it has saved."""
    narrator = scenario.narrator
    a = await scenario.begin("A")
    await scenario.prepare("B", scenario.first_key)
    await scenario.writes(a, "/start", "Which tea")
    await scenario.presses(a, TEA, "How many packets")
    await scenario.writes(a, "3", "Where shall I send it?")
    scenario.revision = (await scenario.ask(a, "save"))["revision"]
    found = [o["revision"] for o in await scenario.survey() if o["name"] == "head"]
    claim = f"Saved: revision {scenario.revision} is in the bucket."
    narrator.check(found == [scenario.revision], claim, found)
    scenario.state = await scenario.ask(a, "look")
    code = await a.kill()
    claim = f"Process A (pid {a.pid}) is killed with SIGKILL, its question still open."
    narrator.check(code == _KILLED, claim, f"exit code {code}")


async def _taken_over(scenario: Scenario) -> None:
    """Have process B go on with the conversation, the data and the keyboards of process A."""
    narrator = scenario.narrator
    narrator.say("Process B has the bucket's name, the key and an empty folder. No more.")
    b = await scenario.begin("B")
    await scenario.prepare("C", scenario.second_key, scenario.first_key)
    state = await scenario.ask(b, "look")
    claim = "Data of user, chat and bot are what process A had."
    narrator.check(state == scenario.state != {}, claim, state)
    thanks = f"Order 1: 3 packets of {TEA}, to {ADDRESS}"
    await scenario.writes(b, ADDRESS, thanks)
    narrator.holds("The conversation went on where it stood.")
    await scenario.presses(b, OTHER_TEA, f"How many packets of {OTHER_TEA}")
    narrator.holds("A keyboard that process A had sent still works.")
    await scenario.stop(b)


async def _seen_from_outside(scenario: Scenario) -> None:
    """Search all versions for values and ids, as somebody without the key."""
    narrator = scenario.narrator
    objects = await scenario.survey()
    names = [entry["name"] for entry in objects]
    narrator.check(names == OBJECTS, "Six objects, whatever the bot has to remember:", names)
    narrator.table(
        ["object", "bytes", "versions"],
        [[o["name"], str(o["bytes"]), str(len(o["versions"]))] for o in objects],
    )
    sample = next(entry for entry in objects if entry["name"] == "user_data")
    narrator.say(f"user_data begins {sample['ciphertext']} ...")
    secrets = [TEA, OTHER_TEA, ADDRESS, CONVERSATION, str(ID)]
    answer = await scenario.ask(scenario.processes["outsider"], "search", texts=secrets)
    claim = (
        f"Teas, address, conversation and her id {ID} are nowhere in all {answer['versions']} "
        f"versions, {answer['bytes']} bytes."
    )
    narrator.check(answer["bytes"] > 0 and not answer["found"], claim, answer["found"])


async def _rotated(scenario: Scenario) -> None:
    """Exchange the key by configuration, then go on with the new key alone."""
    narrator, new = scenario.narrator, scenario.second_key.id
    narrator.say(
        f"Process C has the new key {new} in PTB_S3_KEY, and the old one in PTB_S3_RETIRED_KEYS."
    )
    c = await scenario.begin("C")
    await scenario.prepare("D", scenario.second_key)
    await scenario.writes(c, "2", f"2 packets of {OTHER_TEA}. Where")
    await scenario.stop(c)
    keys = {entry["name"]: entry["key"] for entry in await scenario.survey()}
    held = set(keys.values()) == {new}
    narrator.check(held, "Every object is sealed with the new key now.", keys)
    narrator.say("Process D has the new key alone.")
    d = await scenario.begin("D")
    await scenario.prepare(
        "E", scenario.second_key, scenario.first_key, PTB_S3_RESTORE=str(scenario.revision)
    )
    await scenario.writes(d, OTHER_ADDRESS, f"Order 2: 2 packets of {OTHER_TEA}")
    scenario.newest = (await scenario.stop(d))["revision"]
    narrator.holds("It reads everything, and goes on.")


async def _gone_back(scenario: Scenario) -> None:
    """Go back to the revision of process A, once."""
    narrator, request = scenario.narrator, str(scenario.revision)
    narrator.say(
        f"Process E has PTB_S3_RESTORE={request}, and both keys: the old one sealed that revision."
    )
    e = await scenario.begin("E")
    await scenario.prepare("F", scenario.second_key, scenario.first_key, PTB_S3_RESTORE=request)
    state = await scenario.ask(e, "look")
    narrator.check(
        state == scenario.state, "All is as when process A was killed: no order yet.", state
    )
    claim = f"It is a new revision, {scenario.newest + 1}; those before it stay as they are."
    narrator.check(e.revision == scenario.newest + 1, claim, e.revision)
    await scenario.writes(e, OTHER_ADDRESS, f"Order 1: 3 packets of {TEA}, to {OTHER_ADDRESS}")
    state = await scenario.ask(e, "look")
    revision = (await scenario.stop(e))["revision"]
    narrator.say("Process F has the same variables.")
    f = await scenario.begin("F")
    await scenario.prepare("G", Key.generate())
    found = await scenario.ask(f, "look")
    claim = "It does not go back again: the order of a moment ago is there."
    narrator.check(found == state and f.revision == revision, claim, found)
    await scenario.stop(f)


async def _kept_out(scenario: Scenario) -> None:
    """Start with another key, which has to fail and to change nothing."""
    narrator = scenario.narrator
    before = await scenario.survey()
    try:
        await scenario.begin("G")
    except RefusedError as refusal:
        error = refusal.error
    else:
        error = "that it started"
    claim = "Process G, with another key, does not start: UnknownKeyError."
    narrator.check(error == "UnknownKeyError", claim, error)
    after = await scenario.survey()
    narrator.check(after == before != [], "The bucket is as it was.", _difference(before, after))
    await scenario.stop(scenario.processes["outsider"])


def _difference(before: list[Json], after: list[Json]) -> list[str]:
    """Return the names of the objects that are not as they were."""
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
