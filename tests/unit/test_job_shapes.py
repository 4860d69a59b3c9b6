"""Fourteen shapes of jobs that public bots have, each killed before its job is due.

Each is a small program: a handler, a callback, and what users see. The bot is killed when the job
was made and saved; another process starts, and what has to come comes, to whom, once.

Hours are fractions of a second here. Where the calendar says when, the saved moment is set back, as
if the night had passed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from telegram import Update
from telegram.error import NetworkError
from telegram.ext import TypeHandler
from tests.support.bots import say, sent
from tests.support.jobs import JobBot, Memory, begun, end, kill, saved, until

from ptb_s3 import PickleSerializer
from ptb_s3._format.entities import Kind
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3.testing import memory_persistence

HOUR = 0.8
"""Seconds that stand for an hour."""
USER, OTHER = 7, 8

Order = Callable[[Update, Any], Any]


class Bot:
    """A bot, one process of it after another.

    Attributes:
        app: The process that is alive.
    """

    app: JobBot

    def __init__(self, order: Order, **settings: Any) -> None:
        self._order = order
        self._settings = settings
        self._persistence: Memory = memory_persistence(update_interval=0.05)

    async def start(self) -> None:
        handler = TypeHandler(Update, self._order)
        self.app = await begun(self._persistence, handler, **self._settings)

    async def told(self, text: str, user: int = USER) -> None:
        """Have a user say something, and the bot save what it makes of it."""
        await say(self.app, text, user=user)
        await self.app.update_persistence()

    async def killed(self) -> None:
        """Kill the process, and start the next one."""
        before = self.texts
        await kill(self.app)
        self._persistence = self._persistence.restarted()
        await self.start()
        assert before == [], "it was to be killed before the job was due"

    async def a_night_later(self, late: timedelta = timedelta(minutes=5)) -> None:
        """Kill the process, and start the next one when each saved job has been due for a while."""
        await kill(self.app)
        loader = loader_of(self._persistence.restarted())
        repository = (await loader.opened()).repository
        codec = PickleSerializer(trusted=())
        for key, value in (await saved(self._persistence)).items():
            value["next"] = datetime.now(UTC) - late
            repository.stage(Kind.JOBS, key, codec.dumps(value))
        await repository.commit()
        self._persistence = self._persistence.restarted()
        await self.start()

    @property
    def texts(self) -> list[tuple[int, str]]:
        """What this process has sent: to which chat, and what."""
        return [(int(m["chat_id"]), m["text"]) for m in sent(self.app) if "text" in m]

    async def sends(self, *expected: tuple[int, str]) -> None:
        """Wait until this process has sent so much, and see that it is that."""
        await until(lambda: len(self.texts) >= len(expected))
        assert sorted(self.texts) == sorted(expected)

    async def has_no_job_left(self) -> None:
        """Stop the bot, and see that nothing is left that would run again."""
        await end(self.app)
        assert await saved(self._persistence) == {}


@pytest.fixture
async def bots() -> AsyncIterator[Callable[..., Any]]:
    """Starts bots, the last processes of which are ended after the test."""
    started: list[Bot] = []

    async def start(order: Order, **settings: Any) -> Bot:
        bot = Bot(order, **settings)
        await bot.start()
        started.append(bot)
        return bot

    yield start
    for bot in started:
        await kill(bot.app)


async def send(context: Any) -> None:
    """Send the job's data to its chat: the callback of most shapes."""
    await context.bot.send_message(context.job.chat_id, str(context.job.data))


def is_over(job: Any) -> bool:
    """Tell whether a job has run, and is due again later."""
    return bool(job.next_t > datetime.now(UTC))


# 1. A reminder in an hour ------------------------------------------------------------------------


async def remind_me(update: Any, context: Any) -> None:
    context.job_queue.run_once(
        send, HOUR, data=update.message.text, chat_id=update.effective_chat.id
    )


async def test_a_reminder_in_an_hour(bots: Any) -> None:
    """The text that the user gave, to that user, once."""
    bot = await bots(remind_me)
    await bot.told("tea")
    await bot.killed()
    await bot.sends((USER, "tea"))
    await bot.has_no_job_left()


# 2. A day and an hour before ---------------------------------------------------------------------


async def book(_: Any, context: Any) -> None:
    date = datetime.now(UTC) + timedelta(seconds=3 * HOUR)
    for before in (2, 1):
        when = date - timedelta(seconds=before * HOUR)
        context.job_queue.run_once(send, when, data=f"{before} before", chat_id=USER)


async def test_a_day_and_an_hour_before(bots: Any) -> None:
    """Both, although they have one callback, one name and one chat."""
    bot = await bots(book)
    await bot.told("at ten")
    await bot.killed()
    await bot.sends((USER, "2 before"), (USER, "1 before"))
    assert bot.texts[0] == (USER, "2 before")
    await bot.has_no_job_left()


# 3. Each evening, per user -----------------------------------------------------------------------


async def each_evening(update: Any, context: Any) -> None:
    chat = update.effective_chat.id
    context.job_queue.run_daily(send, time(20), data="Good evening", chat_id=chat, name=str(chat))


async def test_each_evening_per_user(bots: Any) -> None:
    """Each user's own, once for the evening that was missed, and due again tomorrow."""
    bot = await bots(each_evening)
    for user in (USER, OTHER):
        await bot.told("/evening", user)
    await bot.a_night_later()
    await bot.sends((USER, "Good evening"), (OTHER, "Good evening"))
    for user in (USER, OTHER):
        (job,) = bot.app.job_queue.get_jobs_by_name(str(user))
        await until(partial(is_over, job))
        assert job.next_t.timetz() == time(20, tzinfo=UTC)


# 4. Delete this message later --------------------------------------------------------------------


async def post(_: Any, context: Any) -> None:
    context.job_queue.run_once(delete, HOUR, data=4711, chat_id=USER)


async def delete(context: Any) -> None:
    assert await context.bot.delete_message(context.job.chat_id, context.job.data)
    await context.bot.send_message(context.job.chat_id, f"deleted {context.job.data}")


async def test_delete_this_message_later(bots: Any) -> None:
    """The message's id comes back with the job."""
    bot = await bots(post)
    await bot.told("post")
    await bot.killed()
    await bot.sends((USER, "deleted 4711"))
    await bot.has_no_job_left()


# 5. Remind until answered ------------------------------------------------------------------------


async def nag_or_answer(update: Any, context: Any) -> None:
    if update.message.text == "done":
        for job in context.job_queue.get_jobs_by_name(f"nag {USER}"):
            job.schedule_removal()
        return
    data = {"times": 0}
    context.job_queue.run_repeating(nag, HOUR, data=data, chat_id=USER, name=f"nag {USER}")


async def nag(context: Any) -> None:
    context.job.data["times"] += 1
    await context.bot.send_message(context.job.chat_id, f"reminder {context.job.data['times']}")


async def test_remind_until_answered(bots: Any) -> None:
    """It goes on counting in the next process, and an answer there ends it."""
    bot = await bots(nag_or_answer)
    await bot.told("begin")
    await bot.killed()
    await until(lambda: len(bot.texts) >= 2)
    assert bot.texts[:2] == [(USER, "reminder 1"), (USER, "reminder 2")]
    await bot.told("done")
    await bot.has_no_job_left()


# 6. Polls moved on -------------------------------------------------------------------------------


async def open_poll(_: Any, context: Any) -> None:
    context.chat_data["votes"] = {"tea": 2, "coffee": 1}
    context.job_queue.run_once(close_poll, HOUR, chat_id=USER)


async def close_poll(context: Any) -> None:
    votes = context.chat_data.pop("votes")
    await context.bot.send_message(context.job.chat_id, max(votes, key=votes.get))
    context.job_queue.run_once(send, HOUR, data="next poll", chat_id=context.job.chat_id)


async def test_a_poll_is_moved_on(bots: Any) -> None:
    """The job finds the chat's data of the process before, and makes the next job."""
    bot = await bots(open_poll)
    await bot.told("/poll")
    await bot.killed()
    await bot.sends((USER, "tea"), (USER, "next poll"))
    assert bot.app.chat_data[USER] == {}
    await bot.has_no_job_left()


# 7. Clean-up of secrets --------------------------------------------------------------------------


async def keep_secret(update: Any, context: Any) -> None:
    context.user_data["secret"] = update.message.text
    context.job_queue.run_once(forget, HOUR, user_id=USER)


async def forget(context: Any) -> None:
    context.user_data.pop("secret", None)


async def test_a_secret_is_cleaned_up(bots: Any) -> None:
    """Nobody has to come for it, and it is gone from the store as well."""
    bot = await bots(keep_secret)
    await bot.told("hush")
    await bot.killed()
    assert bot.app.user_data[USER] == {"secret": "hush"}
    await until(lambda: bot.app.user_data[USER] == {})
    await bot.has_no_job_left()
    await bot.start()
    assert bot.app.user_data.get(USER, {}) == {}


# 8. Follow-up after inactivity -------------------------------------------------------------------


async def still_there(update: Any, context: Any) -> None:
    user = update.effective_user.id
    for job in context.job_queue.get_jobs_by_name(f"idle {user}"):
        job.schedule_removal()
    after = HOUR * (1 if update.message.text == "first" else 2)
    context.job_queue.run_once(
        send, after, data=f"after {update.message.text}", chat_id=user, name=f"idle {user}"
    )


async def test_a_follow_up_after_inactivity(bots: Any) -> None:
    """Only that of the last message: the one that it replaced does not come back with a start."""
    bot = await bots(still_there)
    await bot.told("first")
    await bot.told("second")
    await bot.killed()
    await bot.sends((USER, "after second"))
    await bot.has_no_job_left()


# 9. A trial that ends ----------------------------------------------------------------------------


async def begin_trial(_: Any, context: Any) -> None:
    context.user_data["plan"] = "trial"
    context.job_queue.run_once(end_trial, HOUR, user_id=USER, chat_id=USER)


async def end_trial(context: Any) -> None:
    if context.user_data["plan"] == "trial":
        context.user_data["plan"] = "free"
        await context.bot.send_message(context.job.chat_id, "Your trial is over")


async def test_a_trial_ends_while_the_bot_is_away(bots: Any) -> None:
    """Also days late, for nobody but this job ends it."""
    bot = await bots(begin_trial)
    await bot.told("/trial")
    await bot.a_night_later(timedelta(days=3))
    await bot.sends((USER, "Your trial is over"))
    assert bot.app.user_data[USER] == {"plan": "free"}
    await bot.has_no_job_left()


# 10. Unban later ---------------------------------------------------------------------------------


async def ban(_: Any, context: Any) -> None:
    await context.bot.ban_chat_member(-100, OTHER)
    context.job_queue.run_once(unban, HOUR, chat_id=-100, user_id=OTHER)


async def unban(context: Any) -> None:
    assert await context.bot.unban_chat_member(context.job.chat_id, context.job.user_id)
    await context.bot.send_message(context.job.chat_id, f"{context.job.user_id} is back")


async def test_unban_later(bots: Any) -> None:
    """Chat and user are the job's own."""
    bot = await bots(ban)
    await bot.told("/ban")
    await bot.killed()
    await bot.sends((-100, f"{OTHER} is back"))
    await bot.has_no_job_left()


# 11. An auction's end ----------------------------------------------------------------------------


async def bid(update: Any, context: Any) -> None:
    context.bot_data["bid"] = (update.effective_user.id, update.message.text)
    if not context.job_queue.get_jobs_by_name("auction"):
        context.job_queue.run_once(sell, HOUR, name="auction")


async def sell(context: Any) -> None:
    user, price = context.bot_data.pop("bid")
    await context.bot.send_message(user, f"sold for {price}")


async def test_an_auction_ends(bots: Any) -> None:
    """Once, for the highest bid, although each bid has asked whether there is an end."""
    bot = await bots(bid)
    await bot.told("10")
    await bot.told("12", OTHER)
    await bot.killed()
    await bot.sends((OTHER, "sold for 12"))
    await bot.has_no_job_left()


# 12. A daily digest per chat, in its own time zone -----------------------------------------------


async def subscribe(update: Any, context: Any) -> None:
    zone = ZoneInfo(update.message.text)
    chat = update.effective_chat.id
    context.job_queue.run_daily(send, time(8, tzinfo=zone), data=zone.key, chat_id=chat)


async def test_a_digest_in_each_chats_time_zone(bots: Any) -> None:
    """At eight there, before the restart and after it, and on days to come."""
    bot = await bots(subscribe)
    for user, zone in ((USER, "Europe/Berlin"), (OTHER, "America/New_York")):
        await bot.told(zone, user)
    await bot.a_night_later()
    await bot.sends((USER, "Europe/Berlin"), (OTHER, "America/New_York"))
    for job in bot.app.job_queue.jobs():
        await until(partial(is_over, job))
        assert job.next_t.astimezone(ZoneInfo(job.data)).time() == time(8)


# 13. A send that failed, tried again -------------------------------------------------------------


async def deliver_parcel(_: Any, context: Any) -> None:
    data = {"text": "parcel", "failed": 0}
    context.job_queue.run_once(try_to_send, HOUR, data=data, chat_id=USER)


async def try_to_send(context: Any) -> None:
    data = context.job.data
    try:
        await send_over_a_bad_line(context, f"{data['text']}, {data['failed']}")
    except NetworkError:
        again = {**data, "failed": data["failed"] + 1}
        context.job_queue.run_once(try_to_send, HOUR, data=again, chat_id=context.job.chat_id)


async def send_over_a_bad_line(context: Any, text: str) -> None:
    if context.job.data["failed"] < 2:
        raise NetworkError("no network")
    await context.bot.send_message(context.job.chat_id, text)


async def test_a_send_that_failed_is_tried_again(bots: Any) -> None:
    """By a job that its job makes; killed between two attempts, too."""
    bot = await bots(deliver_parcel)
    await bot.told("/send")
    await bot.killed()
    await until(lambda: [j for j in bot.app.job_queue.jobs() if j.data["failed"] == 1])
    await bot.app.update_persistence()
    await bot.killed()
    await bot.sends((USER, "parcel, 2"))
    await bot.has_no_job_left()


# 14. Timeout of a payment ------------------------------------------------------------------------


async def pay_or_order(update: Any, context: Any) -> None:
    user = update.effective_user.id
    if update.message.text == "paid":
        context.user_data["paid"] = True
        for job in context.job_queue.get_jobs_by_name(f"payment {user}"):
            job.schedule_removal()
        return
    context.job_queue.run_once(
        cancel_order, HOUR, chat_id=user, user_id=user, name=f"payment {user}"
    )


async def cancel_order(context: Any) -> None:
    assert not context.user_data.get("paid")
    await context.bot.send_message(context.job.chat_id, "Your order is cancelled")


async def test_the_timeout_of_a_payment(bots: Any) -> None:
    """Of two orders, the one that was paid is not cancelled, in whichever process that was."""
    bot = await bots(pay_or_order)
    for user in (USER, OTHER):
        await bot.told("order", user)
    await bot.killed()
    await bot.told("paid")
    await bot.sends((OTHER, "Your order is cancelled"))
    await bot.has_no_job_left()
