"""Time zones of pytz: saved and imported as those of the standard library, no instant moved."""

from __future__ import annotations

import datetime as dt
import pickle
import subprocess
import sys
import zoneinfo
from pathlib import Path
from typing import Any

import pytest
import pytz
from hypothesis import given, settings
from hypothesis import strategies as st
from telegram import Chat, Message
from telegram.ext import ExtBot, PicklePersistence

from ptb_s3._format.entities import Kind
from ptb_s3._transfer.pickle_files import read_pickle_persistence
from ptb_s3._values.pickling.time_zones import ZoneOfPytz
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3._values.transcoder import Transcoder
from ptb_s3.errors import SerializationError

CODEC = PickleSerializer(trusted=())
BERLIN: Any = pytz.timezone("Europe/Berlin")
KOLKATA: Any = pytz.timezone("Asia/Kolkata")
TWICE = dt.datetime(2025, 10, 26, 2, 30)  # noqa: DTZ001 - an hour that Berlin had twice

INSTANTS = {
    "utc": dt.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=pytz.utc),
    "now in a zone": BERLIN.localize(dt.datetime(2024, 7, 2)),  # noqa: DTZ001 - localize gives one
    "first time": BERLIN.localize(TWICE, is_dst=True),
    "second time": BERLIN.localize(TWICE, is_dst=False),
    "never": BERLIN.localize(dt.datetime(2025, 3, 30, 2, 30)),  # noqa: DTZ001 - as above
    "given to datetime": dt.datetime(2024, 1, 1, tzinfo=KOLKATA),
    "far": BERLIN.localize(dt.datetime(2090, 7, 1)),  # noqa: DTZ001 - as above
    "first": dt.datetime.min.replace(tzinfo=KOLKATA),
    "last": dt.datetime.max.replace(tzinfo=pytz.timezone("America/New_York")),
    "static": dt.datetime(2024, 1, 1, tzinfo=pytz.timezone("Etc/GMT+5")),
    "offset": dt.datetime(2024, 1, 1, tzinfo=pytz.FixedOffset(90)),
}


def holds_pytz(data: bytes) -> bool:
    return b"pytz" in data


@pytest.mark.parametrize("name", INSTANTS)
def test_an_instant_stays_the_same(name: str) -> None:
    """Whichever way it is saved, by a bot or by an import, and with the same bytes."""
    when, foreign = INSTANTS[name], pickle.dumps(INSTANTS[name])
    data = CODEC.dumps([when, when])
    assert not holds_pytz(data)
    loaded: Any = CODEC.loads(data)
    one, other = loaded
    assert one is other
    assert one.timestamp() == when.timestamp()
    assert one - when == dt.timedelta()
    assert type(one.tzinfo) in {dt.timezone, zoneinfo.ZoneInfo}
    transcoder = Transcoder()
    assert transcoder.dumps(transcoder.loads(foreign)) == CODEC.dumps(when)
    assert not transcoder.family
    assert CODEC.dumps(CODEC.loads(data)) == data


@given(
    st.sampled_from(pytz.common_timezones),
    st.datetimes(dt.datetime(1890, 1, 1), dt.datetime(2120, 1, 1)),  # noqa: DTZ001 - localize
    st.booleans(),
)
@settings(deadline=None)  # the first use of a zone reads its file
def test_any_instant_in_any_zone(zone: str, when: dt.datetime, is_dst: bool) -> None:  # noqa: FBT001 - drawn
    """Any time of any zone of pytz is the same instant after a load, in the zone of that name."""
    local = pytz.timezone(zone).localize(when, is_dst=is_dst)
    loaded: Any = CODEC.loads(CODEC.dumps(local))
    assert loaded.astimezone(dt.UTC) == local.astimezone(dt.UTC)
    assert str(loaded.tzinfo) == zone
    transcoder = Transcoder()
    assert transcoder.dumps(transcoder.loads(pickle.dumps(local))) == CODEC.dumps(local)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (pytz.utc, dt.UTC),
        (BERLIN, zoneinfo.ZoneInfo("Europe/Berlin")),
        (pytz.timezone("Etc/GMT+5"), zoneinfo.ZoneInfo("Etc/GMT+5")),
        (pytz.FixedOffset(90), dt.timezone(dt.timedelta(minutes=90))),
    ],
    ids=str,
)
def test_a_zone_by_itself(zone: dt.tzinfo, expected: dt.tzinfo) -> None:
    """It goes by its name, wherever it is kept."""
    value = {"zone": zone, "at": dt.time(9, tzinfo=zone)}
    data = CODEC.dumps(value)
    assert CODEC.loads(data) == {"zone": expected, "at": dt.time(9, tzinfo=expected)}
    transcoder = Transcoder()
    taken = transcoder.dumps(transcoder.loads(pickle.dumps(value)))
    assert CODEC.loads(taken) == CODEC.loads(data)


def test_a_zone_that_is_not_known_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, with what helps, and not moved."""
    monkeypatch.setattr("ptb_s3._values.pickling.time_zones.ZoneInfo", zoneinfo.ZoneInfo.no_cache)
    monkeypatch.setattr(zoneinfo, "TZPATH", ())
    zone = ZoneOfPytz("Nowhere/Atall", 60)
    for value in (zone, dt.datetime(2024, 1, 1, tzinfo=zone)):
        with pytest.raises(SerializationError, match="install tzdata"):
            CODEC.dumps([value])


async def test_a_message_of_older_versions_of_ptb(tmp_path: Path) -> None:
    """These put `pytz.utc` into each date; the file is taken over without any `trusted`."""
    path = tmp_path / "bot.pickle"
    old: PicklePersistence[Any, Any, Any] = PicklePersistence(path)
    old.set_bot(ExtBot("123:ABC"))
    date = dt.datetime(2023, 4, 5, tzinfo=pytz.utc)
    await old.update_user_data(7, {"last": Message(1, date, Chat(7, "private"), text="x")})
    await old.flush()
    assert holds_pytz(path.read_bytes())
    data = read_pickle_persistence(path)[Kind.USER_DATA][7]
    assert not holds_pytz(data)
    loaded: Any = CODEC.loads(data)
    assert loaded["last"].date == date
    assert loaded["last"].date.tzinfo is dt.UTC


def test_pytz_is_not_imported() -> None:
    """A bot that does not use it need not have it."""
    text = (
        "import sys, datetime; sys.modules['pytz'] = None\n"
        "from ptb_s3._values.serializer import PickleSerializer\n"
        "codec = PickleSerializer()\n"
        "now = datetime.datetime.now(datetime.UTC)\n"
        "assert codec.loads(codec.dumps([now])) == [now]\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True)  # noqa: S603 - our own interpreter
