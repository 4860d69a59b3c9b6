"""`ptb-s3 report`: what is drawn adds up, what is told is so, and a page stays small."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import KEY, OTHER_KEY
from tests.support.reports import (
    MINUTE,
    NOON,
    checked,
    commit,
    facts_of,
    gathered,
    html_of,
    words_of,
)
from tests.support.shop import Shop, lived

import ptb_s3
from ptb_s3._doctor.findings import Check, failed, unknown, warning
from ptb_s3._format.container import Changed
from ptb_s3._format.entities import Kind
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._history.key_needs import NOT_AT_HAND, Need
from ptb_s3._history.verify import Finding, Report
from ptb_s3._storage.lifecycle import Rule
from ptb_s3.cli._report import events
from ptb_s3.cli._report.facts import Current, Facts, Jobs
from ptb_s3.cli._report.growth import draw_growth
from ptb_s3.cli._report.keys import NO_MORE, uses_of
from ptb_s3.cli._report.page import compose
from ptb_s3.cli._report.scale import BINS, Scale
from ptb_s3.cli._report.timeline import bins_of, draw_timeline, scale_of
from ptb_s3.cli._report.verdict import Grade, exit_code, judge
from ptb_s3.cli._report.writers import overlaps_of, stays_of, turns_of
from ptb_s3.errors import DamagedObjectError, NothingThereError, UnknownKeyError

SECONDS = st.integers(0, 3 * 365 * 86_400)
CURRENT = Current(3, NOON, "a" * 16, 4711, dict.fromkeys(Kind, 1), dict.fromkeys(Kind, 0), {})
BAD = DamagedObjectError("head", "it fails")


# Scale --------------------------------------------------------------------------------------------


@given(st.lists(SECONDS, min_size=1), st.integers(-12, 14))
def test_every_moment_has_its_place(seconds: list[int], zone: int) -> None:
    """Moments stand in their order, within the line, and each in the bin that holds its place."""
    moments = sorted(NOON + timedelta(seconds=each) for each in seconds)
    now = moments[-1].astimezone(timezone(timedelta(hours=zone)))
    scale = Scale.over(moments, now)
    places = [scale.x(moment) for moment in moments]
    assert places == sorted(places)
    assert places[0] == 0
    assert all(0 <= place <= 100 for place in places)
    assert all(0 <= scale.bin(moment) < BINS for moment in moments)
    assert scale.x(moments[0] - MINUTE) == 0
    assert scale.bin(moments[-1] + MINUTE) == BINS - 1


@given(SECONDS, SECONDS, st.integers(-12, 14))
def test_axes_have_a_few_round_marks(start: int, length: int, zone: int) -> None:
    """Whatever the span, there are few marks, all within it, in order and evenly apart."""
    begin = NOON + timedelta(seconds=start)
    there = timezone(timedelta(hours=zone))
    scale = Scale.over([begin, begin + timedelta(seconds=length)], begin.astimezone(there))
    ticks = scale.ticks()
    assert len(ticks) <= 9
    assert len({tick.label for tick in ticks}) == len(ticks)
    assert [tick.x for tick in ticks] == sorted(tick.x for tick in ticks)
    assert [tick.minor for tick in ticks] == [bool(n % 2) for n in range(len(ticks))]


def test_days_begin_where_the_reader_is() -> None:
    """Marks are at midnight of the zone that times are shown in."""
    zone = timezone(timedelta(hours=5, minutes=30))
    begin = datetime(2026, 11, 2, 12, tzinfo=UTC)
    scale = Scale.over([begin, begin + timedelta(days=5)], begin.astimezone(zone))
    (first, *_) = scale.ticks()
    assert first.label == "2026-11-03"
    midnight = datetime(2026, 11, 3, tzinfo=zone)
    assert first.x == scale.x(midnight)


# Time line ----------------------------------------------------------------------------------------


async def test_bins_add_up() -> None:
    """No commit, byte, change or blob is lost in the bins, nor counted twice."""
    facts = await gathered(await lived())
    bins = bins_of(facts, scale_of(facts))
    assert sum(each.commits for each in bins) == len(facts.commits) > BINS
    assert sum(each.size for each in bins) == sum(each.version.size for each in facts.commits)
    assert max(each.largest for each in bins) == max(c.version.size for c in facts.commits)
    for kind in Kind:
        changed = sum(getattr(c.known_header.changed, kind.value) for c in facts.commits)
        assert sum(each.changed[kind] for each in bins) == changed
        assert sum(each.blobs[kind] for each in bins) == len(facts.blobs[kind])


async def test_a_page_stays_small() -> None:
    """Two thousand commits take no more marks than a hundred, and rows that are left off count."""
    many, few = await gathered(await lived(30, 66)), await gathered(await lived(3, 33))
    assert len(many.commits) > 1900
    page = html_of(many)
    assert len(page) < 400_000
    assert page.count("<rect") < 3 * html_of(few).count("<rect")
    for strip in draw_timeline(many).strips:
        assert len(strip.bars) <= 2 * BINS
    table = draw_growth(many).table
    blobs = sum(map(len, many.blobs.values()))
    assert (len(table.rows), len(table.rows) + table.left_off) == (50, blobs)
    assert f"{blobs - 50} more." in page


def test_bars_are_as_high_as_their_share() -> None:
    """The highest bar fills its strip, and one of a quarter a quarter; nothing has no bar."""
    commits = [commit(n, n * 60, changed=Changed(user_data=4 if n == 3 else 1)) for n in (1, 2, 3)]
    strips = {strip.label: strip for strip in draw_timeline(facts_of(*commits)).strips}
    assert [bar.height for bar in strips["user_data"].bars] == [11, 11, 44]
    assert {bar.y + bar.height for bar in strips["user_data"].bars} == {44}
    assert "conversations" not in strips


def test_growth_stands_until_the_next_blob() -> None:
    """Each value is drawn from its blob to the next one, and the last one as it is now."""
    blobs = tuple(
        commit(n, n * 60, object="user_data", changed=None, entities=entities, size=5000 * entities)
        for n, entities in ((1, 5), (2, 10))
    )
    heads = [commit(n, n * 60) for n in range(5)]
    current = replace(CURRENT, entities={**CURRENT.entities, Kind.USER_DATA: 20})
    facts = facts_of(
        *heads, blobs={**dict.fromkeys(Kind, ()), Kind.USER_DATA: blobs}, current=current
    )
    strips = {strip.label: strip for strip in draw_growth(facts).strips}
    assert list(strips) == ["bytes kept", "user_data, entities", "user_data, blob"]
    entities = strips["user_data, entities"]
    assert [bar.height for bar in entities.bars] == [11, 22, 44]
    assert [bar.x for bar in entities.bars][:2] == [25, 50]
    assert entities.bars[0].x + entities.bars[0].width == entities.bars[1].x
    assert (entities.note, strips["user_data, blob"].note) == ("20 now", "50.0 kB now")
    heights = [bar.height for bar in strips["bytes kept"].bars]
    assert heights == sorted(heights)
    assert heights[-1] == 44
    (newest, oldest) = draw_growth(facts).table.rows
    assert (newest[3:5], oldest[3:5]) == (("10", "+5"), ("5", ""))


# Events -------------------------------------------------------------------------------------------


def sorts(facts: Facts) -> list[str]:
    return [event.sort for event in events.find_events(facts)]


def test_nothing_befell_a_plain_history() -> None:
    """Commits in a row are no event."""
    assert sorts(facts_of(commit(1), commit(2), commit(3))) == []


def test_what_befell_a_history_is_told() -> None:
    """A gap, a step back, new keys, a copy, damage and an erasure are an event each."""
    assert sorts(facts_of(commit(1), commit(4))) == [events.GAP]
    assert sorts(facts_of(commit(5), commit(4, 6, commit="b" * 32))) == [events.BACK]
    assert sorts(facts_of(commit(1), commit(2, key=OTHER_KEY.id))) == [events.KEY]
    late = commit(2, 120, created=NOON)
    assert sorts(facts_of(commit(1), late)) == [events.COPY]
    assert sorts(facts_of(commit(2), commit(2, 120, created=NOON))) == [events.COPY]
    damaged = commit(2)._replace(header=None)
    assert sorts(facts_of(commit(1), damaged, commit(3))) == [events.GAP, events.DAMAGED]
    erased = replace(CURRENT, erased=(2,))
    assert sorts(facts_of(commit(1), commit(2), current=erased)) == [events.ERASED]


async def test_restores_show_where_commits_were_opened() -> None:
    """The very commit that brought an older state back is marked."""
    shop = Shop()
    bot = await shop.start()
    await shop.serve(bot, 5, MINUTE)
    shop.now += MINUTE
    assert await bot.restore(RestorePoint.parse("2"))
    await shop.serve(bot, 2, MINUTE)
    facts = await gathered(shop, keys=(KEY,), deep=True)
    assert facts.deep is not None
    assert facts.deep.restores == (6,)
    assert sorts(facts) == [events.RESTORED]


# Writers ------------------------------------------------------------------------------------------


def by(writer: str, *minutes: float) -> list[object]:
    return [commit(1, minute, writer=writer * 16) for minute in minutes]


@pytest.mark.parametrize(
    ("first", "second", "overlaps"),
    [
        ((0, 5), (6, 9), []),
        ((0, 5), (4, 9), [(4, 5, 2)]),
        ((0, 9), (3, 4), [(3, 4, 2)]),
        ((0, 9), (3,), [(3, 3, 2)]),
    ],
)
def test_overlaps(
    first: tuple[float, ...], second: tuple[float, ...], overlaps: list[tuple[float, float, int]]
) -> None:
    """Two writers overlap from when the second has begun until one of them has ended."""
    commits = [*by("a", *first), *by("b", *second)]
    found = overlaps_of(stays_of(commits))  # type: ignore[arg-type] # of commits
    assert [tuple(each) for each in found] == [
        (NOON + begin * MINUTE, NOON + end * MINUTE, most) for begin, end, most in overlaps
    ]


def test_three_at_once() -> None:
    """The highest number is told, and a stretch ends when one is left."""
    commits = [*by("a", 0, 9), *by("b", 1, 5), *by("c", 2, 3)]
    (found,) = overlaps_of(stays_of(commits))  # type: ignore[arg-type] # of commits
    assert found == (NOON + MINUTE, NOON + 5 * MINUTE, 3)


def test_turns() -> None:
    """A takeover is none; coming back is one each time."""
    newest_first = [commit(1, n, writer=w * 16) for n, w in enumerate("aabbab")][::-1]
    assert turns_of(newest_first) == 2
    assert turns_of(newest_first[2:]) == 0


async def test_a_deploy_shows() -> None:
    """The shop's deploy, in which two writers took turns, is one overlap."""
    facts = await gathered(await lived())
    assert len(overlaps_of(stays_of(facts.commits))) == 1
    assert turns_of(facts.commits) == 12
    assert len(stays_of(facts.commits)) == 3


# Keys ---------------------------------------------------------------------------------------------


async def test_a_key_is_needed_until_its_last_commit_expires() -> None:
    """The day is that of the lifecycle rule, from when the commit was replaced on."""
    facts = await gathered(await lived())
    assert facts.current is not None
    sealing, retired = uses_of(facts)
    assert (sealing.key, sealing.role) == (OTHER_KEY.id, "seals")
    assert sealing.until.startswith("now, by ")
    last = facts.current.needs[KEY.id].newest
    assert last is not None
    after = next(each for each in facts.commits[::-1] if each.revision > last)
    day = (after.version.modified + timedelta(days=91)).date()
    assert retired.until == f"up to revision {last}, which expires on {day}"
    assert sealing.heads + retired.heads == len(facts.commits)


def test_needs_of_keys_in_words() -> None:
    """Each case of a need has its words, and a key that nothing needs says so."""
    rules = (Rule("1", "bot/", noncurrent_days=5, newest_kept=7),)
    needs = {KEY.id: Need("opens", 0, 2)}
    facts = facts_of(*map(commit, (1, 2, 3)), current=replace(CURRENT, needs=needs))

    def until(facts: Facts) -> str:
        (use,) = uses_of(facts)
        return use.until

    assert until(facts).endswith("lifecycle rules are not known")
    assert until(replace(facts, rules=())).endswith("no rule removes it")
    assert until(replace(facts, rules=rules)).endswith("while it is among the newest 7")
    assert until(replace(facts, current=CURRENT)) == NO_MORE
    assert until(replace(facts, current=None)).startswith("not known")


# Verdict ------------------------------------------------------------------------------------------


def test_a_verdict_is_the_gravest_reason() -> None:
    """Words and exit code follow what was found, and nothing that was not looked into is well."""
    facts = facts_of(commit(1), current=CURRENT)
    assert (judge(facts).grade, exit_code(facts)) == (Grade.OPEN, 0)
    well = replace(facts, verified=Report(objects=2))
    assert (judge(well).grade, exit_code(well)) == (Grade.GOOD, 0)
    slow = replace(well, examined=checked(one=warning(Check.LATENCY, "slow", "Move.")))
    assert (judge(slow).grade, exit_code(slow)) == (Grade.DOUBTFUL, 0)
    told = judge(slow).reasons[0].told
    assert told == "Latency: slow. Move."
    open_ = replace(well, examined=checked(one=failed(Check.PUBLIC_ACCESS, "open", "Close.")))
    assert (judge(open_).grade, exit_code(open_)) == (Grade.BAD, 7)
    damaged = replace(open_, verified=Report(1, 1, [Finding("head", None, 1, BAD)]))
    assert (judge(damaged).grade, exit_code(damaged)) == (Grade.BAD, 5)
    assert judge(damaged).grade is judge(replace(damaged, versioned=False)).grade
    both = replace(slow, verified=damaged.verified)
    assert judge(both).grade is Grade.BAD
    assert [reason.grade for reason in judge(both).reasons][:2] == [Grade.BAD, Grade.DOUBTFUL]
    unread = replace(well, fault="It is gone.", exit_code=3)
    assert (judge(unread).grade, exit_code(unread)) == (Grade.BAD, 3)


def test_what_was_left_out_is_no_fault() -> None:
    """Checks that were not made leave the verdict as it is, and are listed last."""
    open_ = unknown(Check.CONDITIONAL_PUT, "not tried", "Run.")
    verdict = judge(facts_of(commit(1), verified=Report(objects=1), examined=checked(one=open_)))
    assert verdict.grade is Grade.GOOD
    assert [reason.grade for reason in verdict.reasons][-2:] == [Grade.OPEN, Grade.OPEN]
    assert [reason.command for reason in verdict.reasons][-2:] == ["--verify-history", "--probe"]


def test_a_key_that_is_missing_is_told() -> None:
    """Whoever keeps the report is to put it back before they need it."""
    needs = {"b" * 16: Need(NOT_AT_HAND, 0, 1)}
    facts = facts_of(commit(1), current=replace(CURRENT, needs=needs), verified=Report(objects=1))
    assert judge(facts).grade is Grade.DOUBTFUL
    assert f"Key {'b' * 16} is needed, and not at hand here." in words_of(html_of(facts))


# Gathering ----------------------------------------------------------------------------------------


async def test_the_page_tells_what_there_is() -> None:
    """Numbers of the summary are those of the state and of the bucket."""
    shop = await lived()
    facts = await gathered(shop, deep=True)
    state = (await shop.start(OTHER_KEY, KEY)).base
    words = re.sub(r"\s+", " ", words_of(html_of(facts)))
    assert "All is well" in words
    assert f"revision {state.head.revision:,}" in words
    assert f"user_data {len(state.entities[Kind.USER_DATA]):,}" in words
    versions = sum(map(len, shop.memory._history.values()))
    assert f"{versions:,} versions" in words
    assert "4 minutes ago" in words
    for use in uses_of(facts):
        assert use.key in words


async def test_nothing_is_written() -> None:
    """Whatever is asked for, a report only reads."""
    shop = await lived(3, 12)
    before, begun = dict(shop.memory._history), len(shop.memory.calls)
    await gathered(shop, deep=True, subject=1, every_version=True)
    assert {call.operation for call in shop.memory.calls[begun:]} <= {"get", "versions", "remains"}
    assert shop.memory._history == before


async def test_headers_alone_are_read_of_older_versions() -> None:
    """Without --deep, no older version is opened, so that it takes no older key."""
    shop = await lived(3, 12)
    facts = await gathered(shop, verify=False, keys=(OTHER_KEY,))
    assert len(facts.commits) > 30
    assert facts.exit_code == 0
    assert judge(facts).grade is Grade.DOUBTFUL  # of the key that older ones need


async def test_ranks_are_how_often_entities_changed() -> None:
    """Opened commits tell how often the most-changed entities changed; counted by hand."""
    shop = Shop()
    bot = await shop.start()
    for changes in ((1, 2), (1,), (1, 3), (2,)):
        for user in changes:
            bot.stage(Kind.USER_DATA, user, shop._encode({"at": str(shop.now)}))
        shop.now += MINUTE
        await bot.commit()
    facts = await gathered(shop, keys=(KEY,), deep=True)
    assert facts.deep is not None
    assert facts.deep.ranks[Kind.USER_DATA] == (3, 2, 1)
    assert facts.deep.distinct == Counter({kind: 3 * (kind is Kind.USER_DATA) for kind in Kind})


async def test_limits_are_told() -> None:
    """Fewer commits are looked at, and the page says how many there are besides."""
    shop = await lived(3, 12)
    facts = await gathered(shop, limit=10)
    assert [each.revision for each in facts.commits] == list(range(54, 44, -1))
    left = facts.extent.commits - 10
    assert f"{left} older ones were left out" in html_of(facts)
    since = await gathered(shop, since=facts.commits[4].made)
    assert [each.revision for each in since.commits] == list(range(54, 49, -1))


async def test_damage_is_a_fact() -> None:
    """A damaged state is no end of the report: it says so, and tells of the rest."""
    shop = await lived(3, 12)
    body = shop.memory._current["head"].body
    shop.memory.replace("head", body[:-1] + bytes([body[-1] ^ 1]))
    facts = await gathered(shop, deep=True, subject=1)
    page = html_of(facts)
    assert exit_code(facts) == 5
    assert "Not well" in page
    assert facts.current is not None  # the newest that can be read
    assert facts.life is not None
    assert facts.life.unreadable == 1
    assert len(facts.commits) > 30


async def test_a_missing_key_is_a_fact() -> None:
    """Without the key, headers still tell of commits, writers and sizes."""
    shop = await lived(3, 12)
    facts = await gathered(shop, keys=(ptb_s3.Key(bytes(32)),))
    assert exit_code(facts) == UnknownKeyError.exit_code
    assert facts.current is None
    page = html_of(facts)
    assert OTHER_KEY.id in page
    assert "Not well" in page


async def test_a_bucket_without_versions() -> None:
    """There is one commit, and the page says that there is no going back."""
    shop = Shop(versioned=False)
    await shop.serve(await shop.start(), 4, MINUTE)
    facts = await gathered(shop, keys=(KEY,))
    assert (len(facts.commits), facts.versioned) == (1, False)
    assert "there is no history to go back to" in html_of(facts)


async def test_an_empty_place() -> None:
    """Nothing there is an error, as for the other commands."""
    with pytest.raises(NothingThereError):
        await gathered(Shop(), keys=(KEY,))


async def test_a_page_is_made_of_facts_alone() -> None:
    """The same facts give the same page, byte by byte."""
    facts = await gathered(await lived(3, 12))
    assert html_of(facts) == html_of(facts)
    assert await gathered(await lived(3, 12)) is not facts
    assert html_of(await gathered(await lived(3, 12))) == html_of(facts)


# Package ------------------------------------------------------------------------------------------


def test_no_other_command_imports_it() -> None:
    """Nobody waits for a template library who makes no report."""
    code = (
        "import sys, ptb_s3, ptb_s3.cli._app;"
        "print([n for n in sys.modules if n.startswith(('jinja2', 'ptb_s3.cli._report'))])"
    )
    ran = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_templates_are_in_the_package() -> None:
    """The wheel takes all that lies below the package and that git does not ignore."""
    folder = Path(ptb_s3.__file__).parent / "cli" / "_report" / "templates"
    there = sorted(path.name for path in folder.iterdir())
    assert there == ["figures.html", "life.html", "report.css", "report.html"]
    root = Path(__file__).parents[2]
    pyproject = (root / "pyproject.toml").read_text()
    assert '[tool.hatch.build.targets.wheel]\npackages = ["src/ptb_s3"]\n\n' in pyproject
    ignored = [
        line.strip("/*\n")
        for line in (root / ".gitignore").read_text().splitlines()
        if not line.startswith("/")
    ]
    assert not {part for part in ignored for path in folder.iterdir() if part in path.parts}


# Jobs ---------------------------------------------------------------------------------------------


def test_jobs_are_told_where_there_are_any() -> None:
    """Those that are due for long are a doubt: the bot does not run, or not with its job queue."""
    facts = facts_of(current=CURRENT)
    assert "Jobs" not in [tile.name for tile in compose(facts).tiles]
    late, soon = facts.now - 11 * MINUTE, facts.now + 5 * MINUTE
    jobs = Jobs(kept=3, overdue=1, late=late, next=soon)
    facts = facts_of(current=replace(CURRENT, jobs=jobs))
    (tile,) = (tile for tile in compose(facts).tiles if tile.name == "Jobs")
    assert tile[1:] == ("3", "1 overdue, the next in 5 minutes")
    (doubt,) = (reason for reason in judge(facts).reasons if reason.command == "ptb-s3 jobs")
    assert doubt.grade is Grade.DOUBTFUL
    assert doubt.told.startswith("1 job due, the first since ")
    calm = replace(CURRENT, jobs=replace(jobs, late=facts.now - 9 * MINUTE, next=None))
    facts = facts_of(current=calm)
    assert not [r for r in judge(facts).reasons if r.command == "ptb-s3 jobs"]
    assert compose(facts).tiles[2].note == "1 overdue, none is due"
