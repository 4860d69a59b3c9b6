"""What a user gives is refused when it is given, and not when nobody can read what it made."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import KEY, locals_of_ours

from ptb_s3 import Keyring, S3Persistence
from ptb_s3._options import option_fault
from ptb_s3._storage.place import MAX_PREFIX_BYTES, check_prefix
from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import SettingsError


class Json:
    """A serializer of somebody's own."""

    def __init__(self, serializer_id: Any) -> None:
        self.id = serializer_id

    def dumps(self, _: object) -> bytes:
        return b"{}"

    def loads(self, _: bytes) -> object:
        return {}


def persistence(**options: Any) -> S3Persistence[Any, Any, Any]:
    return S3Persistence("bucket", keyring=Keyring(KEY), **options)


@pytest.mark.parametrize(
    "serializer_id",
    ["JSON", "my serializer", "", "x" * 33, "json\n", "a/b", "\u00e9", None, b"json"],
)
def test_a_serializer_whose_id_fits_no_header_is_refused(serializer_id: Any) -> None:
    """Its id would be written into every object, and each of them refused at the next start."""
    with pytest.raises(SettingsError, match=r"^serializer= has an id that does not fit"):
        persistence(serializer=Json(serializer_id))


@pytest.mark.parametrize("serializer_id", ["json", "x" * 32, "a.b_c-9"])
def test_a_serializer_that_fits_is_taken(serializer_id: str) -> None:
    """All that a header's rule takes is taken here."""
    assert option_fault("serializer", Json(serializer_id)) is None
    assert persistence(serializer=Json(serializer_id)).stats.revision == 0


@pytest.mark.parametrize("request_", ["1" * 1025, "41\n", "\x00", "\udc80"])
def test_a_restore_request_that_no_head_records_is_refused(request_: str) -> None:
    """It would be carried out at each start, or fail when the head that records it is read."""
    with pytest.raises(SettingsError, match=r"^restore= h") as caught:
        persistence(restore=request_)
    assert request_ not in str(caught.value)


@pytest.mark.parametrize("request_", [None, "41", "2026-11-23T14:00:00", "v" * 1024])
def test_a_restore_request_is_taken(request_: str | None) -> None:
    """Revisions, times and version ids as long as S3 makes them."""
    assert option_fault("restore", request_) is None
    assert persistence(restore=request_).stats.revision == 0


@pytest.mark.parametrize(
    ("prefix", "says"),
    [
        ("/bot/", "begins with a slash"),
        ("a//bot/", "two slashes"),
        ("bot//", "two slashes"),
        ("b\\c/", "a backslash"),
        ("../bot/", "has a part '.' or '..'"),
        ("bot/.", "has a part '.' or '..'"),
        ("bot\udc80/", "cannot be seen"),
        ("x" * (MAX_PREFIX_BYTES + 1), "takes 961 bytes, and 960 fit"),
    ],
)
def test_a_prefix_that_servers_change_is_refused(prefix: str, says: str) -> None:
    """Objects would be kept by one name and listed by another."""
    with pytest.raises(SettingsError) as caught:
        check_prefix(prefix)
    assert str(caught.value).startswith("prefix= ")
    assert says in str(caught.value)
    check_prefix("x" * MAX_PREFIX_BYTES)


@pytest.mark.parametrize(
    "options",
    [
        {"update_interval": 0},
        {"restore": "\n"},
        {"prefix": "//"},
        {"endpoint_url": "localhost:9000"},
        {"serializer": Json("JSON")},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_was_refused_can_be_looked_at(options: dict[str, Any]) -> None:
    """A debugger, or an error tracker, shows a half-made persistence, and gets no second error."""
    with pytest.raises(SettingsError) as caught:
        persistence(**options)
    shown = "".join(locals_of_ours(caught.value))
    assert "self=<S3Persistence refused>" in shown
    assert repr(S3Store.__new__(S3Store)) == "<S3Store refused>"
