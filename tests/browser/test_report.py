"""`ptb-s3 report` in Chromium: it loads nothing, fits a phone, and can be read by anybody."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.browser.looks import CONTRASTS, FOCUS, WIDE, headings
from tests.browser.pictures import HASH, PICTURES, aside, page_of_pictures
from tests.integration.operators import ALICE, employed, live
from tests.servers import S3Server
from tests.support.reports import gathered, html_of
from tests.support.shop import FIRST_USER, lived

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE, DESK = 320, 1200
TEXT, MARK = 4.5, 2.0
SCHEMES = ("light", "dark")
SECTIONS = ["Summary", "Time line", "Growth", "What changes most", "Writers", "Keys", "Findings"]


@pytest.fixture(scope="session")
def real(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that the command has made of a real store, with a user's values."""
    file = tmp_path_factory.mktemp("real") / "report.html"

    async def report() -> None:
        async with employed(s3_server) as operator:
            await live(operator.store())
            await operator.done("report", file, "--user", ALICE, "--values", "--deep")

    aside(report)
    return file


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about two thousand commits, in a place whose name does not end."""
    file = tmp_path_factory.mktemp("long") / "report.html"

    async def report() -> str:
        facts = await gathered(await lived(30, 66), subject=FIRST_USER, deep=True)
        return html_of(replace(facts, place=f"s3://{'bucket' * 9}/{'prefix' * 20}/"))

    file.write_text(aside(report))
    return file


@pytest.fixture(params=["real", "long"])
def file(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def open_page(browser: Browser, file: Path) -> Iterator[Any]:
    """Opens the page at some width, in a scheme of colours."""
    pages: list[Page] = []

    def opened(width: int = DESK, scheme: Any = "light", path: Path = file) -> Page:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        pages.append(page)
        page.goto(path.as_uri())
        return page

    yield opened
    for page in pages:
        page.close()


def test_it_asks_for_nothing(browser: Browser, file: Path) -> None:
    """The one request is for the file itself, and the browser has nothing to say against it."""
    page = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    page.wait_for_load_state("networkidle")
    for fold in page.locator("details").all():
        fold.locator("summary").click()
    page.emulate_media(media="print")
    assert asked == [file.as_uri()]
    assert said == []
    page.close()


def test_its_policy_holds(open_page: Any, tmp_path: Path, file: Path) -> None:
    """What somebody would smuggle in does not run, load or dress: the policy forbids it."""
    evil = tmp_path / "evil.html"
    smuggled = (
        "<script>document.title = 'run'</script>"
        "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw'"
        " onerror=\"document.title = 'run'\"><p id='p' style='color: rgb(1, 2, 3)'>x</p></main>"
    )
    evil.write_text(file.read_text().replace("</main>", smuggled))
    page = open_page(path=evil)
    assert page.title() != "run"
    assert page.evaluate("getComputedStyle(document.getElementById('p')).color") != "rgb(1, 2, 3)"
    assert page.evaluate("document.querySelector('main img').naturalWidth") == 0
    # The page's own style is in force.
    assert page.evaluate("getComputedStyle(document.body).maxWidth") != "none"


@pytest.mark.parametrize("width", [PHONE, 390, DESK])
def test_it_fits(open_page: Any, width: int) -> None:
    """Nothing but tables, in boxes of their own, is wider than the window, folds open too."""
    page = open_page(width)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(WIDE) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_contrast(open_page: Any, scheme: str) -> None:
    """Every text has a contrast of 4.5:1 at least, and every mark stands off from its ground."""
    page = open_page(scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    found = page.evaluate(CONTRASTS)
    texts = [each for each in found if "text" in each]
    marks = [each for each in found if "mark" in each]
    assert len(texts) > 100
    assert len(marks) > 20
    assert [each for each in texts if each["ratio"] < TEXT] == []
    assert [each for each in marks if each["ratio"] < MARK] == []


def test_the_two_schemes_differ(open_page: Any) -> None:
    """Whoever prefers dark gets it."""
    grounds = {
        open_page(scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in SCHEMES
    }
    assert len(grounds) == 2


def test_it_has_a_structure(open_page: Any) -> None:
    """Language, title, landmarks, and headings that leave no level out."""
    page = open_page()
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.title()
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1, landmark
    levels = headings(page)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    names = page.locator("h2").all_inner_texts()
    assert names == [*SECTIONS, "One user"]


def test_everything_has_a_name(open_page: Any) -> None:
    """Each drawing, table, region and fold has a name; ids are unique, and links lead somewhere."""
    page = open_page()
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    tree = page.locator("body").aria_snapshot()
    for nameless in ("- img\n", "- table:\n", "- region:\n", "- figure:\n", "- link\n"):
        assert nameless not in f"{tree}\n"
    assert page.locator("table").count() == page.get_by_role("region").count() - len(SECTIONS) - 1
    assert page.locator(".table").evaluate_all("all => all.every(each => each.tabIndex === 0)")
    drawings = page.locator("svg[role=img]")
    assert drawings.count() > 5
    assert page.locator("svg:not([role=img])").evaluate_all(
        "all => all.every(each => each.closest('[aria-hidden=true]'))"
    )
    figures, folds = page.locator("figure").count(), page.locator("figure details table").count()
    assert figures == folds == 3
    ids = page.locator("[id]").evaluate_all("all => all.map(each => each.id)")
    assert len(ids) == len(set(ids))
    for target in page.locator("a").evaluate_all("all => all.map(a => a.getAttribute('href'))"):
        assert target.removeprefix("#") in ids
    for pointed in page.locator("[aria-labelledby]").evaluate_all(
        "all => all.map(each => each.getAttribute('aria-labelledby'))"
    ):
        assert pointed in ids


def test_keys_reach_everything(open_page: Any) -> None:
    """Tab goes from top to bottom, and where it stands is seen; Enter skips, and unfolds."""
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUS)["name"] == "Skip to the report"
    assert page.evaluate(FOCUS)["seen"]
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    page.goto(page.url.removesuffix("#main"))
    stops: list[dict[str, Any]] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUS)
        if stop["tag"] == "BODY":
            break
        stops.append(stop)
    assert all(stop["outline"] >= 2 and stop["name"] for stop in stops)
    below = [stop["top"] for stop in stops if stop["tag"] != "A"]
    assert below == sorted(below)
    reached = page.locator("a, summary").count()
    assert len([stop for stop in stops if stop["tag"] in ("A", "SUMMARY")]) == reached
    fold = page.locator("figure details").first
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert fold.get_attribute("open") is not None


def test_colour_is_never_alone(open_page: Any) -> None:
    """The verdict is a word and each reason has a sign; strips have labels of their own."""
    page = open_page()
    word = page.locator(".verdict .word").inner_text()
    assert word in ("All is well", "Look into this", "Not well", "Not checked")
    signs = page.locator(".verdict li").evaluate_all(
        "all => all.map(each => [each.className, getComputedStyle(each, '::before').content])"
    )
    assert len({sign for _, sign in signs}) == len({grade for grade, _ in signs})
    assert all(
        label.strip() for label in page.locator(".strip:not(.axis) .label").all_inner_texts()
    )


def test_print(open_page: Any, tmp_path: Path) -> None:
    """On paper it is dark on white, whatever the screen prefers, and without navigation."""
    page = open_page(scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.get_by_role("navigation").is_visible()
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").stat().st_size > 10_000
    if shutil.which("pdftotext") is not None:
        ran = subprocess.run(  # noqa: S603 - as below
            ["pdftotext", tmp_path / "report.pdf", "-"],  # noqa: S607 - Debian's own
            capture_output=True,
            text=True,
            check=True,
        )
        assert "Time line" in ran.stdout


# Pictures -----------------------------------------------------------------------------------------


def test_pictures_of_the_page(browser: Browser, tmp_path: Path, pytestconfig: Any) -> None:
    """The pictures of docs/report.md are of the page as it is today.

    Their pixels depend on the fonts of a machine; the page that they were made of does not, and its
    hash is kept beside them.
    """
    html = page_of_pictures()
    file = tmp_path / "report.html"
    file.write_text(html)
    digest = hashlib.sha256(html.encode()).hexdigest()
    folder = PICTURES if pytestconfig.getoption("--pictures", default=False) else tmp_path
    sizes = {}
    for name, shot in SHOTS.items():
        page = browser.new_page(
            viewport={"width": shot["width"], "height": shot["height"]},
            color_scheme=shot["scheme"],
            reduced_motion="reduce",  # or it is still on its way to the section
        )
        page.goto(file.as_uri() + shot["at"])
        page.screenshot(path=folder / name)
        page.close()
        assert (folder / name).stat().st_size < 150_000
        sizes[name] = [shot["width"], shot["height"]]
    if pytestconfig.getoption("--pictures", default=False):
        HASH.write_text(json.dumps({"page": digest, "sizes": sizes}, indent=2) + "\n")
    assert json.loads(HASH.read_text()) == {"page": digest, "sizes": sizes}


SHOTS: dict[str, dict[str, Any]] = {
    "report-light.png": {"width": 1000, "height": 780, "scheme": "light", "at": ""},
    "report-dark.png": {"width": 1000, "height": 780, "scheme": "dark", "at": "#timeline"},
    "report-phone.png": {"width": 360, "height": 780, "scheme": "light", "at": ""},
}
