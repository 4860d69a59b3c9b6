"""What hosts share: the application by a name, the log a line a minute, the status to answer."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from telegram.ext import ApplicationBuilder, MessageHandler, filters
from tests.support import make_persistence
from tests.support.bots import TOKEN, App, Handler
from tests.support.deliveries import application, count, message, users

from ptb_s3 import PersistentApplication, PersistentJobQueue
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import SettingsError
from ptb_s3.hosts._builder import builder_from_env
from ptb_s3.hosts._endpoint import BODY_LIMIT, HEADER, SCHEDULE_HEADER, Endpoint
from ptb_s3.hosts._entry_point import application_of
from ptb_s3.hosts._refusals import INTERVAL, Refusals
from ptb_s3.hosts.aws_lambda import RUN_DUE, handler_for
from ptb_s3.hosts.webhook import ALIVE, PATH, READY, SCHEDULE, main, routes

SECRET = "a-secret_0"  # noqa: S105 - of nobody
TELEGRAM = {HEADER: SECRET}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_SECRET_TOKEN", SECRET)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Return the lines that are logged, which a test may clear."""
    caplog.set_level(logging.INFO, "ptb_s3")
    kept: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: kept.append(f"{record.levelname} {record.getMessage()}")  # type: ignore[method-assign]  # a double
    logging.getLogger("ptb_s3").addHandler(handler)
    yield kept
    logging.getLogger("ptb_s3").removeHandler(handler)


def client(endpoint: Endpoint, **options: Any) -> TestClient[Any, Any]:
    return TestClient(TestServer(routes(endpoint, **options)))


# The log ------------------------------------------------------------------------------------------


def test_a_reason_is_logged_once_a_minute_with_a_count(lines: list[str]) -> None:
    """The first at once, then one line a minute that says how many there were since."""
    refusals = Refusals(clock := Clock())
    for seconds in (0, 1, 30, 28.9, 0.2, 59, INTERVAL):
        clock.now += seconds
        refusals.add(HTTPStatus.UNAUTHORIZED, "No.")
    assert lines == [
        "WARNING Answered 401: No.",
        "WARNING Answered 401: No. (3 more for this reason since it was last logged.)",
        "WARNING Answered 401: No. (1 more for this reason since it was last logged.)",
    ]


def test_reasons_do_not_hide_one_another(lines: list[str]) -> None:
    """Each status has its own minute, as has each type of error behind a 500."""
    refusals = Refusals(Clock())
    server = HTTPStatus.INTERNAL_SERVER_ERROR
    refusals.add(HTTPStatus.NOT_FOUND, "Where?")
    for number, reason in enumerate(("TimeoutError", "TimeoutError", "ConflictError")):
        refusals.add(server, reason, reason=reason, update=number)
    assert lines == [
        "WARNING Answered 404: Where?",
        "ERROR Answered 500 to update 0: TimeoutError",
        "ERROR Answered 500 to update 2: ConflictError",
    ]


def test_counts_are_told_before_the_end(lines: list[str]) -> None:
    """What was held back is logged once more when the process ends, and not twice."""
    refusals = Refusals(Clock())
    for _ in range(3):
        refusals.add(HTTPStatus.NOT_FOUND, "Where?")
    lines.clear()
    refusals.flush()
    refusals.flush()
    assert lines == ["WARNING Answered 404: (2 more for this reason since it was last logged.)"]


# The application ----------------------------------------------------------------------------------


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A project in the working directory, which is on the path."""
    folder = tmp_path / "nursery"
    folder.mkdir()
    (folder / "bot.py").write_text("number = 5\ndef build():\n    return None\n")
    (folder / "lacking.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "nursery"]:
        del sys.modules[name]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nursery.bot", "'nursery.bot' is not the name of a function."),
        (":build", "':build' is not the name of a function."),
        ("nursery.bot:", "'nursery.bot:' is not the name of a function."),
        ("nursery.cat:build", "There is no module nursery.cat."),
        ("kitchen:build", "There is no module kitchen."),
        ("nursery.bot:made", "Module nursery.bot has no function made."),
        ("nursery.bot:number", "Module nursery.bot has no function number."),
        ("nursery.bot:build", "nursery.bot:build returned NoneType, and no Application."),
    ],
)
def test_a_name_that_leads_nowhere_is_told(name: str, said: str) -> None:
    """One line says what is not there."""
    with pytest.raises(SettingsError) as raised:
        application_of(name)
    assert str(raised.value).startswith(said)


@pytest.mark.usefixtures("project")
def test_a_module_that_the_project_lacks_is_pythons_error() -> None:
    """Its traceback says where that is imported: it is not our name that leads nowhere."""
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        application_of("nursery.lacking:build")


def test_an_application_without_our_persistence_is_told() -> None:
    """It would be served, and forget everything."""
    with pytest.raises(SettingsError, match="has no S3Persistence"):
        application_of(lambda: ApplicationBuilder().token(TOKEN).build())


def test_the_builder_is_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Token and address are, and what it builds may poll as well."""
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", f" {TOKEN}\n")
    monkeypatch.setenv("TELEGRAM_API_URL", "http://127.0.0.1:8081/")
    built = builder_from_env().build()
    assert isinstance(built, PersistentApplication)
    assert built.bot.base_url == f"http://127.0.0.1:8081/bot{TOKEN}"
    assert built.bot.base_file_url == f"http://127.0.0.1:8081/file/bot{TOKEN}"
    assert built.updater is not None
    monkeypatch.delenv("TELEGRAM_BOT_TOKEN")
    with pytest.raises(SettingsError, match="TELEGRAM_BOT_TOKEN is not set"):
        builder_from_env()


# The service --------------------------------------------------------------------------------------


async def test_what_is_refused_is_answered_and_logged(lines: list[str]) -> None:
    """Wrong secret, path, method, size and what is not JSON: each has its status and its line.

    None of them shows what came.
    """
    store = MemoryStore()
    endpoint = Endpoint(lambda: application(store))
    await endpoint.begin()
    lines.clear()
    async with client(endpoint) as http:
        for status, method, path, body, headers in (
            (401, "POST", PATH, message("canary"), {}),
            (401, "POST", PATH, message("canary"), {HEADER: "canary"}),
            (404, "GET", "/canary", "", {}),
            (405, "GET", PATH, "", {}),
            (413, "POST", PATH, " " * (BODY_LIMIT + 1), TELEGRAM),
            (400, "POST", PATH, "canary", TELEGRAM),
            (200, "POST", PATH, message(), TELEGRAM),
        ):
            answer = await http.request(
                method, path, data=io.BytesIO(body.encode()), headers=headers
            )
            assert answer.status == status
    assert [line[:25] for line in lines] == [
        f"WARNING Answered {status}: {text}"[:25]
        for status, text in (
            (401, "The secret"),
            (404, "There is"),
            (405, "The method"),
            (413, "The body"),
            (400, "What was"),
        )
    ]
    assert not any("canary" in line for line in lines)
    await endpoint.close()
    assert lines[5:] == ["WARNING Answered 401: (1 more for this reason since it was last logged.)"]
    assert await users(store) == {1: {"n": 1}}


async def test_alive_and_ready() -> None:
    """Alive is the process; ready is the state that is loaded, until the end begins."""
    endpoint = Endpoint(lambda: application(MemoryStore()))
    async with client(endpoint) as http:
        for begins, ready in ((None, 503), (endpoint.begin, 200), (endpoint.close, 503)):
            if begins is not None:
                await begins()
            assert (await http.get(ALIVE)).status == HTTPStatus.OK
            assert (await http.get(READY)).status == ready


async def test_an_update_that_never_ends_does_not_stop_the_others(lines: list[str]) -> None:
    """It is answered 500 when its time is up, comes again as Telegram has it, and others go on.

    They wait for their turns behind it and are not refused for that, though each wait is longer
    than an update may take.
    """
    store = MemoryStore()
    began = asyncio.Event()

    async def hang(_update: Any, _context: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    hanging = MessageHandler(filters.Regex("hang"), hang)
    endpoint = Endpoint(lambda: application(store, hanging, MessageHandler(filters.TEXT, count)))
    await endpoint.begin()
    lines.clear()
    poison = message("hang", number=7)
    async with client(endpoint, update_timeout=0.3) as http:

        async def post(update: str) -> int:
            async with http.post(PATH, data=update.encode(), headers=TELEGRAM) as answer:
                return answer.status

        for round_ in range(1, 3):  # Telegram sends it again, and again nothing of it stays
            began.clear()
            held = [asyncio.create_task(post(poison)) for _ in range(2)]
            await began.wait()
            others = [asyncio.create_task(post(message("hello", user))) for user in (1, 2, 3)]
            assert await asyncio.gather(*held) == [500, 500]
            assert await asyncio.gather(*others) == [200, 200, 200]
            assert await users(store) == {user: {"n": round_} for user in (1, 2, 3)}
    said = [line for line in lines if "Answered" in line]
    assert said == ["ERROR Answered 500 to update 7: The time was up."]
    await endpoint.close()


async def test_a_project_for_polling_is_served_as_it_is() -> None:
    """An application with an updater and a job queue, of PTB's own class, is one like others."""
    store = MemoryStore()

    def build() -> App:
        offline = application(store).bot.request
        builder: Any = ApplicationBuilder().token(TOKEN).request(offline)
        app: App = builder.persistence(make_persistence(store)).build()
        app.add_handler(MessageHandler(filters.TEXT, count))
        assert app.updater is not None
        assert app.job_queue is not None
        return app

    endpoint = Endpoint(build)
    await endpoint.begin()
    assert [await endpoint.take(message()) for _ in range(2)] == [200, 200]
    await endpoint.close()
    assert await users(store) == {1: {"n": 2}}


@pytest.mark.parametrize("port", ["x", "-1", "65536", "٣"])
def test_a_port_that_is_none_is_told(
    port: str, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    """One line, and the exit code of wrong settings."""
    monkeypatch.setenv("PORT", port)
    assert main(["nursery.bot:build"]) == SettingsError.exit_code
    assert lines == ["ERROR PORT is not a port. Give a number from 0 to 65535."]


# Schedules over HTTP -----------------------------------------------------------------------------

RUN_DUE_SECRET = "of-a-schedule_0123456789"  # noqa: S105 - of nobody
ran: list[str] = []


async def remind(context: Any) -> None:
    ran.append(context.job.name)


async def take_long(context: Any) -> None:
    await asyncio.sleep(0.5)
    ran.append(context.job.name)


async def break_down(_: Any) -> None:
    await asyncio.Event().wait()


def with_jobs(store: MemoryStore, *handlers: Handler) -> App:
    """A bot whose updates make a job that is due at once, of the name that was written."""
    ran.clear()

    async def order(update: Any, context: Any) -> None:
        text = update.message.text
        callback = {"hang": break_down, "slow": take_long}.get(text, remind)
        context.job_queue.run_once(callback, 0, name=text)

    builder: Any = ApplicationBuilder().application_class(PersistentApplication).token(TOKEN)
    builder = builder.request(application(store).bot.request).updater(None)
    kept = make_persistence(store, trusted=(__name__,))
    builder = builder.job_queue(PersistentJobQueue()).persistence(kept)
    app: App = builder.build()
    app.add_handlers([*handlers, MessageHandler(filters.TEXT, order)])
    return app


async def test_a_schedule_that_may_call_has_what_is_due_run(
    monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    """It shows its own secret, in a header; everybody else is refused, counted, and shown nothing.

    Telegram's secret is none of a schedule's, and the other way round.
    """
    monkeypatch.setenv("RUN_DUE_SECRET", RUN_DUE_SECRET)
    endpoint = Endpoint(lambda: with_jobs(MemoryStore()))
    await endpoint.begin()
    assert await endpoint.take(message("tea")) == HTTPStatus.OK
    lines.clear()
    async with client(endpoint) as http:
        for status, method, path, headers in (
            (401, "POST", SCHEDULE, {}),
            (401, "POST", SCHEDULE, {SCHEDULE_HEADER: ""}),
            (401, "POST", SCHEDULE, {SCHEDULE_HEADER: "canary"}),
            (401, "POST", SCHEDULE, {SCHEDULE_HEADER: RUN_DUE_SECRET[:-1]}),
            (401, "POST", SCHEDULE, {SCHEDULE_HEADER: SECRET, HEADER: SECRET}),
            (401, "POST", SCHEDULE, {"Authorization": f"Bearer {RUN_DUE_SECRET}"}),
            (401, "POST", PATH, {HEADER: RUN_DUE_SECRET}),
            (405, "GET", SCHEDULE, {SCHEDULE_HEADER: RUN_DUE_SECRET}),
        ):
            answer = await http.request(method, path, data=b"canary", headers=headers)
            assert answer.status == status, (method, path)
            assert not ran
        headers = {SCHEDULE_HEADER: RUN_DUE_SECRET}
        for _ in range(2):
            assert (await http.post(SCHEDULE, headers=headers)).status == HTTPStatus.OK
    assert ran == ["tea"]
    assert [line[:44] for line in lines] == [
        "WARNING Answered 401: The secret of a call t",
        "WARNING Answered 401: The secret token is mi",
        "WARNING Answered 405: The method is none of ",
    ]
    assert not any(word in line for line in lines for word in ("canary", RUN_DUE_SECRET, SECRET))
    await endpoint.close()
    assert lines[3:] == ["WARNING Answered 401: (5 more for this reason since it was last logged.)"]


async def test_without_a_secret_there_is_no_such_path(lines: list[str]) -> None:
    """Whatever a request shows; an empty secret would let everybody in."""
    endpoint = Endpoint(lambda: with_jobs(MemoryStore()))
    async with client(endpoint) as http:
        for headers in ({}, {SCHEDULE_HEADER: ""}, {SCHEDULE_HEADER: "x"}, TELEGRAM):
            answer = await http.post(SCHEDULE, headers=headers)
            assert answer.status == HTTPStatus.NOT_FOUND
    assert not endpoint.admits_schedule("")
    assert not endpoint.admits_schedule(None)
    assert lines[0].startswith("WARNING Answered 404")


@pytest.mark.parametrize("given", ["too-short", "sixteen letters ", "é" * 20, "x" * 257])
def test_a_schedules_secret_that_is_none_is_told(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without showing it."""
    monkeypatch.setenv("RUN_DUE_SECRET", given)
    with pytest.raises(SettingsError, match="RUN_DUE_SECRET is none") as raised:
        Endpoint(lambda: with_jobs(MemoryStore()))
    assert given not in str(raised.value)


def test_a_schedule_of_a_bot_without_jobs_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not by each of its calls."""
    monkeypatch.setenv("RUN_DUE_SECRET", RUN_DUE_SECRET)
    with pytest.raises(SettingsError, match="PersistentJobQueue"):
        Endpoint(lambda: application(MemoryStore()))


async def test_a_job_that_hangs_is_answered_500_and_updates_go_on(
    monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    """The schedule has a turn among the updates, and as much time as one of them."""
    monkeypatch.setenv("RUN_DUE_SECRET", RUN_DUE_SECRET)
    endpoint = Endpoint(lambda: with_jobs(MemoryStore()))
    await endpoint.begin()
    async with client(endpoint, update_timeout=0.5) as http:
        assert (await http.post(PATH, data=message("hang"), headers=TELEGRAM)).status == 200
        headers = {SCHEDULE_HEADER: RUN_DUE_SECRET}
        late = asyncio.create_task(http.post(SCHEDULE, headers=headers).__aenter__())
        await asyncio.sleep(0.1)
        assert (await http.post(PATH, data=message("tea"), headers=TELEGRAM)).status == 200
        assert (await late).status == HTTPStatus.INTERNAL_SERVER_ERROR
        assert (await http.post(SCHEDULE, headers=headers)).status == HTTPStatus.OK
    assert ran == ["tea"]
    assert [line for line in lines if "Answered" in line] == [
        "ERROR Answered 500: To run what is due: The time was up."
    ]
    await endpoint.close()


async def test_a_schedule_that_waits_for_its_turn_has_all_of_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It comes behind an update that leaves it too little of the time that it began with."""
    monkeypatch.setenv("RUN_DUE_SECRET", RUN_DUE_SECRET)
    hanging: Handler = MessageHandler(filters.Regex("stuck"), lambda *_: asyncio.Event().wait())
    endpoint = Endpoint(lambda: with_jobs(MemoryStore(), hanging))
    await endpoint.begin()
    async with client(endpoint, update_timeout=1) as http:
        assert (await http.post(PATH, data=message("slow"), headers=TELEGRAM)).status == 200
        stuck = asyncio.create_task(
            http.post(PATH, data=message("stuck"), headers=TELEGRAM).__aenter__()
        )
        await asyncio.sleep(0.1)
        headers = {SCHEDULE_HEADER: RUN_DUE_SECRET}
        assert (await http.post(SCHEDULE, headers=headers)).status == HTTPStatus.OK
        assert (await stuck).status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert ran == ["slow"]
    await endpoint.close()


# Lambda -------------------------------------------------------------------------------------------


class Context:
    """An invocation that has so much time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self._seconds * 1000)


@pytest.mark.usefixtures("loops")
def test_the_handler_is_of_a_function(lines: list[str]) -> None:
    """A function will do as well as its name; each update is durable when it is answered.

    And one that never ends is given up in time, so that the process goes on with the next.
    """
    store = MemoryStore()
    hanging: Handler = MessageHandler(filters.Regex("hang"), lambda *_: asyncio.Event().wait())
    handler = handler_for(lambda: application(store, hanging, MessageHandler(filters.TEXT, count)))

    def answer(body: str, seconds: float = 30, **headers: str) -> int:
        event = {"headers": headers or {HEADER.lower(): SECRET}, "body": body}
        return int(handler(event, Context(seconds))["statusCode"])

    assert answer(message()) == HTTPStatus.OK
    poison = message("hang", number=7)
    assert [answer(poison, 2.2), answer(message()), answer(poison, 2.2)] == [500, 200, 500]
    assert answer(message(), x="y") == HTTPStatus.UNAUTHORIZED
    assert answer(" " * (BODY_LIMIT + 1)) == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert [line.partition(": ")[0] for line in lines if "Answered" in line] == [
        "ERROR Answered 500 to update 7",
        "WARNING Answered 401",
        "WARNING Answered 413",
    ]


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the event loops that handlers have, which live as long as their process."""
    made, real = list[asyncio.Runner](), asyncio.Runner

    def runner() -> asyncio.Runner:
        made.append(real())
        return made[-1]

    monkeypatch.setattr(asyncio, "Runner", runner)
    yield
    for each in made:
        each.close()


RULE = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-11-29T16:53:00Z",
    "region": "us-east-1",
    "resources": ["arn:aws:events:us-east-1:123456789012:rule/each-minute"],
    "detail": {},
}
"""Event of a rule without an input of its own, as the user guide of EventBridge shows it."""


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("schedule", [RULE, RUN_DUE], ids=["a rule's", "an input of its own"])
def test_a_schedule_runs_what_is_due(schedule: dict[str, Any]) -> None:
    """And no request to the URL can pose as one, whatever it sends."""
    handler = handler_for(lambda: with_jobs(MemoryStore()))

    def answer(event: dict[str, Any]) -> int:
        return int(handler(event, Context(30))["statusCode"])

    text = json.dumps(schedule)
    assert answer({"headers": TELEGRAM, "body": message("tea")}) == HTTPStatus.OK
    http: dict[str, Any] = {"version": "2.0", "requestContext": {"http": {"method": "POST"}}}
    for forged, status in (
        ({**http, "headers": {}, "body": text}, 401),
        ({**http, "headers": TELEGRAM, "body": text}, 400),
        ({**http, **schedule, "headers": {}}, 401),
        ({**http, **schedule}, 401),
        ({**schedule, "headers": {}}, 401),
        ({**RUN_DUE, "body": message()}, 401),
        ({}, 401),
    ):
        assert answer(forged) == status, forged
        assert not ran
    assert answer(schedule) == HTTPStatus.OK
    assert ran == ["tea"]


@pytest.mark.usefixtures("loops")
def test_a_schedule_that_fails_is_answered_and_logged(lines: list[str]) -> None:
    """An application without jobs is a mistake: the log tells of it, and AWS does not try again."""
    handler = handler_for(lambda: application(MemoryStore()))
    assert handler(dict(RUN_DUE), Context(30)) == {"statusCode": 500}
    assert any("PersistentJobQueue" in line for line in lines)
