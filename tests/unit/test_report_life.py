"""One user's life in a report: it is so, and nothing shows that was not asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import escape
from tests.support import KEY, OTHER_KEY
from tests.support.reports import MINUTE, commit, gathered, html_of
from tests.support.shop import CANARY, FIRST_USER, Shop, lived

import ptb_s3
from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._format.erasure import subjects
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._values.transcoder import Transcoder
from ptb_s3.cli._report.facts import Life
from ptb_s3.cli._report.life import Unfolding, describe, shape
from ptb_s3.cli._report.visible import visible
from ptb_s3.cli._view import State

TEMPLATES = Path(ptb_s3.__file__).parent / "cli" / "_report" / "templates"
EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "'; DROP TABLE",
    "</td></table></style>{{ 7*7 }}",
    "https://example.org/?a=1&b=2",
]


async def life_of(subject: int, **options: object) -> Life:
    facts = await gathered(await lived(), subject=subject, **options)
    assert facts.life is not None
    return facts.life


async def test_a_life_is_what_going_back_shows() -> None:
    """The steps are the differences between one restored state and the next, gaps or not."""
    shop = await lived()
    facts = await gathered(shop, subject=FIRST_USER)
    assert facts.life is not None
    history = (await shop.start(OTHER_KEY, KEY)).history
    before: Mapping[tuple[Kind, EntityKey], bytes] = {}
    expected = []
    for each in facts.commits[::-1]:
        snapshot = await history.state_at(RestorePoint.parse(str(each.revision)))
        after = {
            (kind, key): value
            for kind, entities in snapshot.entities.items()
            for key, value in entities.items()
            if FIRST_USER in subjects(kind, key)
        }
        for place in sorted({*before, *after}, key=repr):
            old, new = before.get(place), after.get(place)
            if old != new:
                what = "added" if old is None else "removed" if new is None else "changed"
                expected.append((each.revision, place[0], what))
        before = after
    found = [(step.revision, step.kind, step.what) for step in facts.life.steps[::-1]]
    assert found == expected
    assert {what for _, _, what in expected} == {"added", "changed", "removed"}


async def test_an_erased_user_has_no_life() -> None:
    """What was forgotten stays out of the report, though older versions hold it."""
    shop = await lived(3, 12)
    bot = await shop.start(OTHER_KEY, KEY)
    await bot.erase(FIRST_USER)
    facts = await gathered(shop, subject=FIRST_USER, values=True)
    assert facts.life is not None
    assert facts.life.steps == ()
    assert str(FIRST_USER) in html_of(facts)  # as it was asked for
    assert CANARY not in html_of(facts)


async def test_without_user_no_id_and_no_value_shows() -> None:
    """Whatever is read for a report, nothing personal is in it."""
    shop = await lived()
    page = html_of(await gathered(shop, deep=True, every_version=True))
    assert CANARY not in page
    assert "Oolong" not in page
    users = range(FIRST_USER, FIRST_USER + shop._users)
    assert not re.findall(r"\b555\d{6}\b", page)
    assert len(users) > 300


async def test_with_user_values_stay_out() -> None:
    """A life without values has the shapes, the id asked for, and nobody else's."""
    page = html_of(await gathered(await lived(), subject=FIRST_USER))
    assert CANARY not in page
    assert "street" not in page
    assert "Oolong" not in page
    assert set(re.findall(r"\b555\d{6}\b", page)) == {str(FIRST_USER)}
    assert "dict of 3" in page
    assert "Values are left out" in page
    assert "Private" not in page


async def test_values_show_where_they_are_asked_for() -> None:
    """With values, fields stand with what they were and became; the page calls itself private."""
    page = html_of(await gathered(await lived(), subject=FIRST_USER, values=True))
    assert CANARY in page
    assert "Private." in page
    assert "[&#39;visits&#39;]" in page
    assert "<del>1</del>" in page


def test_a_key_tells_of_nobody_else() -> None:
    """A conversation's key is told without the other id in it, unless values are shown."""
    key = ("order", (-100, 5, "inline"))
    assert describe(Kind.CONVERSATIONS, key, 5, values=False) == "order (another, this id, another)"
    assert describe(Kind.CONVERSATIONS, key, 5, values=True) == '["order",[-100,5,"inline"]]'
    assert describe(Kind.USER_DATA, 5, 5, values=False) == "this id"


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("secret", "text"),
        (12345, "number"),
        (True, "true or false"),
        (None, "none"),
        (["secret"], "list of 1"),
        ({"secret": 1, "other": 2}, "dict of 2"),
        ({"$tuple": ["secret"]}, "tuple of 1"),
        ({"$dict": [[1, "secret"]]}, "dict of 1"),
        ({"$class": "shop.Secret", "total": 5}, "object of 1"),
        ({"$datetime": "2026-01-01"}, "datetime"),
        ({}, "dict of 0"),
    ],
)
def test_shapes(form: object, told: str) -> None:
    """A shape says of what kind a value is, and how many parts it has."""
    assert shape(form) == told


def test_long_lives_are_cut() -> None:
    """The newest changes stay, and the others are counted; so with fields and long values."""
    unfolding = Unfolding(5, values=True)
    dumps = Transcoder().dumps
    for revision in range(1, 300):
        value = {number: revision * (number < 40) for number in range(50)} | {"text": "x" * 1000}
        state = State(revision, "", "pickle5", (), {})
        unfolding.add(commit(revision), state, {(Kind.USER_DATA, 5): dumps(value)})
    life = unfolding.result()
    assert (len(life.steps), life.left_off) == (200, 99)
    assert life.steps[0].revision == 299
    assert (len(life.steps[0].fields), life.steps[0].left_off) == (30, 10)
    first = Unfolding(5, values=True)
    first.add(commit(1), state, {(Kind.USER_DATA, 5): dumps({"text": "x" * 1000})})
    (step,) = first.result().steps
    assert len(step.fields[0].after) == 300


# Hostile text -------------------------------------------------------------------------------------


class _Tags(HTMLParser):
    """Collects tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags_of(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(page)
    return parser.found


async def evil_page(text: str) -> str:
    """Return the page of a user who has sent that text, and whose conversation bears it."""
    shop = Shop()
    bot = await shop.start()
    for number in (1, 2):
        shop.now += MINUTE
        bot.stage(Kind.USER_DATA, 5, Transcoder().dumps({text: [text, number], "n": text}))
        bot.stage(Kind.CONVERSATIONS, (text, (5,)), Transcoder().dumps(f"{text}{number}"))
        await bot.commit()
    return html_of(await gathered(shop, keys=(KEY,), subject=5, values=True))


@pytest.mark.parametrize("text", EVIL)
async def test_text_of_users_stays_text(text: str) -> None:
    """Tags, quotes, links and templates in values are shown, and do nothing."""
    page, plain = await evil_page(text), await evil_page("plain")
    shapes = [(tag, sorted(attributes)) for tag, attributes in tags_of(page)]
    assert shapes == [(tag, sorted(attributes)) for tag, attributes in tags_of(plain)]
    assert [a.get("href") for _, a in tags_of(page)] == [a.get("href") for _, a in tags_of(plain)]
    assert str(escape(json.dumps(text)[1:-1])) in page


async def test_what_hides_is_made_visible() -> None:
    """Bidi controls, zero-width characters and halves of characters show as their numbers."""
    page = await evil_page("safe\u202egpj.exe\u200b\x1b[2J")
    assert "safe⟨U+202E⟩gpj.exe⟨U+200B⟩" in page
    assert not re.search("[\u200b-\u200f\u202a-\u202e\u2066-\u2069\x1b]", page)
    assert "⟨U+D800⟩" in visible("half \ud800")


def test_plain_text_stays() -> None:
    """Letters of all scripts, and line ends, are left as they are."""
    for text in ("Grüße, мир, 世界 🍵", "two\nlines"):
        assert visible(text) == text
    assert visible("\ud800") == "⟨U+D800⟩"


async def test_a_page_loads_nothing_and_runs_nothing() -> None:
    """No script, no handler, no style outside of the policy, no link but within the page."""
    facts = await gathered(await lived(3, 12), subject=FIRST_USER, values=True, deep=True)
    page = html_of(facts)
    tags = tags_of(page)
    assert {tag for tag, _ in tags}.isdisjoint(
        {"script", "img", "iframe", "link", "object", "base"}
    )
    for _, attributes in tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert attributes.get("href", "#").startswith("#")  # type: ignore[union-attr] # it has one
        assert "src" not in attributes
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    assert "@import" not in page


def test_templates_trust_nothing() -> None:
    """No template marks anything as safe, and none turns escaping off."""
    for path in TEMPLATES.glob("*.html"):
        text = path.read_text()
        assert not re.search(r"\|\s*safe|autoescape|Markup", text), path.name
