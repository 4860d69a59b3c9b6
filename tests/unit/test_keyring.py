"""Keys parse strictly, are derived from as specified, and never show themselves."""

from __future__ import annotations

import base64
import copy
import gzip
import hashlib
import hmac
import pickle
import string
import struct
import traceback
import zlib
from dataclasses import FrozenInstanceError, dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import locals_of_ours

from ptb_s3._format import container
from ptb_s3._format.key_source import KeySource, SealedHeader, SealingKey, for_history, sealing_key
from ptb_s3._format.unsealer import open_sealed
from ptb_s3._keys.keyring import Key, Keyring
from ptb_s3.errors import KeyFormatError, SettingsError, UnknownKeyError

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = bytes(range(100, 132))
TEXT = "ptbs3k1_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoOeXryU"
BODY = TEXT.removeprefix("ptbs3k1_")
ALPHABET = string.ascii_letters + string.digits + "-_"
OTHER = Key(bytes(32))


@dataclass(frozen=True)
class Header:
    key: str
    object: str = "head"
    wrapped_key: str | None = None


def shown_of(secret: str, *texts: str) -> list[str]:
    """Return the slices of a secret, six characters long, that can be read in some texts."""
    slices = {secret[i : i + 6] for i in range(len(secret) - 5)}
    return sorted(s for s in slices if any(s in text for text in texts))


def expand(info: bytes, length: int) -> bytes:
    """HKDF-Expand of RFC 5869 with SHA-512, for one block: the first is 64 bytes."""
    return hmac.digest(SECRET, info + b"\x01", hashlib.sha512)[:length]


def test_text_form_is_prefix_and_base64url() -> None:
    """The text of a key is its 32 bytes and their CRC-32 in base64url, behind the prefix."""
    assert Key(SECRET).reveal() == TEXT
    checksum = int.from_bytes(gzip.compress(SECRET)[-8:-4], "little")  # RFC 1952's, as FORMAT.md's
    assert base64.urlsafe_b64decode(BODY) == SECRET + struct.pack("<I", checksum)


@given(st.binary(min_size=32, max_size=32))
def test_what_is_revealed_parses_to_the_same_key(secret: bytes) -> None:
    """Every key survives the way through text."""
    key = Key(secret)
    assert Key.parse(key.reveal()) == key
    assert Key.parse(key.reveal()).reveal() == key.reveal()


def test_derivation_is_hkdf_expand() -> None:
    """Id and sealing key are HKDF-Expand-SHA-512 of the secret, as FORMAT.md says."""
    key = Key(SECRET)
    assert key.id == expand(b"ptb-s3/1 key id", 8).hex() == "a3aed4313df18d63"
    assert key.seal_key == expand(b"ptb-s3/1 seal", 32)


def test_generate_takes_its_bytes_from_outside() -> None:
    """A key is made of the bytes that the source of randomness gave, all 32 of them."""
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return SECRET

    assert Key.generate(random) == Key(SECRET)
    assert asked == [32]
    assert Key.generate() != Key.generate()


def test_source_of_too_few_bytes_is_refused() -> None:
    """A source that gives fewer bytes than asked for makes no weak key."""
    with pytest.raises(KeyFormatError, match="32 bytes, not 16"):
        Key.generate(lambda _: bytes(16))


@pytest.mark.parametrize("text", [f" {TEXT}", f"{TEXT}\n", f"\t{TEXT}\r\n"])
def test_white_space_around_a_key_is_dropped(text: str) -> None:
    """What shells and secret stores put around a key does not spoil it."""
    assert Key.parse(text) == Key(SECRET)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        (None, "is not text but NoneType"),
        (TEXT.encode(), "is not text but bytes"),
        ("correct horse battery staple", "does not begin with 'ptbs3k1_'"),
        (BODY, "does not begin with 'ptbs3k1_'"),
        (TEXT.upper(), "does not begin with 'ptbs3k1_'"),
        (TEXT.replace("k1", "k2"), "does not begin with 'ptbs3k1_'"),
        (Key(SECRET).id, "looks like a key's id"),
        (f'"{TEXT}"', "is in quotes"),
        (f"'{TEXT}'", "is in quotes"),
        (f"PTB_S3_KEY={TEXT}", "has its variable's name in front"),
        (f'PTB_S3_KEY="{TEXT}"', "has its variable's name in front"),
        (TEXT.replace("s3", "3s"), "does not begin with 'ptbs3k1_', but almost: a letter is wrong"),
        (TEXT.replace("k1", "kl"), "does not begin with 'ptbs3k1_', but almost: a letter is wrong"),
        ("ptbs3k1_", "has 0 characters after 'ptbs3k1_' instead of 48"),
        (TEXT[:-1], "has 47 characters"),
        (TEXT[:-5], "has 43 characters"),
        (TEXT + "A", "has 49 characters"),
        (TEXT + "=", "holds 1 character"),
        (TEXT + '"', "holds 1 character"),
        (TEXT.replace("-", "+"), "holds 1 character"),
        (f"{TEXT},{TEXT}", "holds 1 character"),
        (TEXT[:20] + "\n" + TEXT[20:], "holds 1 character"),
        (TEXT.replace("Z", "Ｚ", 1), "holds 1 character"),  # noqa: RUF001 - full-width, as meant
        (
            TEXT[:-1] + "N",
            "has a checksum that does not fit: a letter is wrong, or two are swapped",
        ),
        (TEXT[:-1] + chr(ord(TEXT[-1]) ^ 32), "has a checksum that does not fit"),
        (TEXT.replace("ZG", "GZ"), "has a checksum that does not fit"),
        ("/run/secrets/key", "looks like the path of a file"),
        ("../bot.key", "looks like the path of a file"),
    ],
)
def test_malformed_key_says_what_is_wrong_and_shows_nothing(text: str, says: str) -> None:
    """Every fault has its own message, which holds no part of the key."""
    with pytest.raises(KeyFormatError) as caught:
        Key.parse(text)
    error = caught.value
    assert f"The key {says}" in str(error)
    assert shown_of(BODY, repr(error), *traceback.format_exception(error)) == []
    assert error.__cause__ is None
    assert error.__context__ is None
    assert (error.exit_code, isinstance(error, SettingsError)) == (2, True)


def is_refused_as_mistyped(text: str) -> bool:
    """Tell whether a text is refused for a slip of the hand, and nothing of it is shown."""
    try:
        Key.parse(text)
    except KeyFormatError as error:
        message = str(error)
    else:
        return False
    is_told = "a letter is wrong, or two are swapped. Copy it again." in message
    return is_told and not shown_of(text[8:], message)


def test_any_one_wrong_letter_is_told() -> None:
    """Each place, each letter: no key but this one is read, and the error says what it is."""
    mistyped = [
        BODY[:place] + letter + BODY[place + 1 :]
        for place, right in enumerate(BODY)
        for letter in ALPHABET
        if letter != right
    ]
    assert len(mistyped) == 48 * 63
    assert all(is_refused_as_mistyped("ptbs3k1_" + body) for body in mistyped)


def test_any_two_swapped_letters_are_told() -> None:
    """Neighbours, or any others."""
    for one, other in combinations(range(48), 2):
        letters = list(BODY)
        letters[one], letters[other] = letters[other], letters[one]
        assert "".join(letters) == BODY or is_refused_as_mistyped("ptbs3k1_" + "".join(letters))


def test_any_two_wrong_letters_are_told() -> None:
    """Of every key: a CRC is linear, so what a change does to it depends on the change alone.

    Two changes together go unnoticed only if each of them changes the checksum's fit alike.
    """
    changes = [bits << 6 * place for place in range(48) for bits in range(1, 64)]
    misfits = {misfit(change.to_bytes(36, "big")) for change in changes}
    assert len(misfits) == len(changes) == 3024
    assert 0 not in misfits


def misfit(change: bytes) -> int:
    """Return what a change of a key and its checksum does to the fit of the two."""
    changed, checksum = zlib.crc32(change[:32]), int.from_bytes(change[32:], "little")
    return changed ^ zlib.crc32(bytes(32)) ^ checksum


@given(st.binary(min_size=32, max_size=32), st.data())
def test_slips_of_the_hand_are_told_of_any_key(secret: bytes, data: st.DataObject) -> None:
    """One letter for another, or two neighbours swapped, the prefix's among them."""
    text = Key(secret).reveal()
    place = data.draw(st.integers(0, len(text) - 2))
    letter = data.draw(st.sampled_from(ALPHABET))
    substituted = text[:place] + letter + text[place + 1 :]
    swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    for slip in (substituted, swapped):
        assert slip == text or is_refused_as_mistyped(slip)


@given(st.integers(0, len(TEXT) - 1), st.characters())
def test_no_changed_character_makes_a_key(place: int, character: str) -> None:
    """Whatever character it is, of the prefix as of the rest."""
    text = TEXT[:place] + character + TEXT[place + 1 :]
    if text == TEXT or text.strip() == TEXT:
        return
    with pytest.raises(KeyFormatError):
        Key.parse(text)


def test_key_shows_its_id_alone() -> None:
    """What logs make of a key, a sealing key or a keyring is ids."""
    key, ring = Key(SECRET), Keyring(TEXT, [OTHER])
    texts = [repr(key), str(key), f"{key}", repr(ring), repr(ring.sealing_key()), repr([key])]
    assert repr(key) == "<Key a3aed4313df18d63>"
    assert repr(ring) == f"<Keyring {key.id} {OTHER.id}>"
    assert shown_of(BODY, *texts) == []
    assert not any(repr(key.seal_key)[2:10] in text for text in texts)


@pytest.mark.parametrize("leak", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("holder", [Key(SECRET), Keyring(TEXT).sealing_key()])
def test_secrets_are_not_pickled_or_copied(
    leak: Callable[[object], object], holder: object
) -> None:
    """A key that strays into a bot's data does not end up in what is saved of it."""
    with pytest.raises(TypeError, match="holds a secret") as caught:
        leak(holder)
    assert shown_of(BODY, *traceback.format_exception(caught.value)) == []


def test_keyring_is_not_pickled() -> None:
    """A keyring is as safe from pickle as the keys on it."""
    with pytest.raises(TypeError, match="holds a secret"):
        pickle.dumps(Keyring(TEXT))


def test_key_is_a_value() -> None:
    """Equal secrets make equal keys, and nothing else is equal to a key, its own text included."""
    assert Key(SECRET) == Key.parse(TEXT)
    assert {Key(SECRET), Key(SECRET), OTHER} == {OTHER, Key(SECRET)}
    assert Key(SECRET) != OTHER
    assert Key(SECRET) != TEXT


def test_key_cannot_be_changed() -> None:
    """A key's parts are there for good, and so are a sealing key's."""
    key, sealing = Key(SECRET), Keyring(TEXT).sealing_key()
    with pytest.raises(AttributeError, match="cannot be changed"):
        key.id = "0" * 16
    with pytest.raises(AttributeError, match="cannot be changed"):
        del key.seal_key
    with pytest.raises(AttributeError, match="cannot be changed"):
        key.note = "x"
    with pytest.raises(FrozenInstanceError):
        sealing.key_id = "x"  # type: ignore[misc]


def test_keyring_seals_with_the_first_and_opens_with_all() -> None:
    """The sealing key's id comes first; each key opens what its id names."""
    ring: KeySource = Keyring(TEXT, retired=[OTHER, Key(bytes(31) + b"x").reveal()])
    assert ring.sealing_key() == SealingKey(Key(SECRET).id, Key(SECRET).seal_key, None)
    for key in (Key(SECRET), OTHER, Key(bytes(31) + b"x")):
        header: SealedHeader = Header(key.id)
        assert ring.opening_key(header) == key.seal_key


def test_key_retired_twice_or_still_sealing_is_on_the_ring_once() -> None:
    """Half a rotation, where the old key is in both places, works."""
    assert Keyring(TEXT, [TEXT, OTHER, OTHER.reveal()]).ids == (Key(SECRET).id, OTHER.id)
    assert Keyring(TEXT).ids == (Key(SECRET).id,)


def test_retired_keys_may_come_from_a_generator() -> None:
    """Any iterable of keys will do, and is read once."""
    assert Keyring(TEXT, (key for key in [OTHER])).ids == (Key(SECRET).id, OTHER.id)


def test_missing_key_is_named_with_those_at_hand() -> None:
    """The error tells the object, the id that is needed and the ids that are there."""
    ring = Keyring(TEXT, [OTHER])
    with pytest.raises(UnknownKeyError) as caught:
        ring.opening_key(Header("00ff00ff00ff00ff", "user_data"))
    error = caught.value
    assert (error.object_name, error.needed) == ("user_data", "00ff00ff00ff00ff")
    assert error.at_hand == ring.ids
    assert shown_of(BODY, str(error), repr(error)) == []


@pytest.mark.parametrize("retired", [TEXT, "", OTHER])
def test_one_retired_key_outside_a_list_is_refused(retired: str) -> None:
    """A string of retired keys is not taken for a list of its characters."""
    with pytest.raises(KeyFormatError, match=r"retired=\[old_key\]") as caught:
        Keyring(TEXT, retired=retired)
    assert shown_of(BODY, *traceback.format_exception(caught.value)) == []


def test_malformed_retired_key_is_named_by_its_place() -> None:
    """Among several retired keys, the message says which one is wrong."""
    with pytest.raises(KeyFormatError, match=r"^Retired key 2 has 47 characters"):
        Keyring(TEXT, [OTHER, TEXT[:-1]])


def test_missing_sealing_key_is_not_a_crash() -> None:
    """`Keyring(os.environ.get(...))` without that variable says so, and how to make a key."""
    with pytest.raises(KeyFormatError, match=r"NoneType\. Make a key with: ptb-s3 keys new"):
        Keyring(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Key.parse(TEXT[:-1]),
        lambda: Key(Key(SECRET).seal_key[:31]),
        lambda: Keyring(TEXT[:-1]),
        lambda: Keyring(OTHER, [TEXT, TEXT[:-1]]),
        lambda: Keyring(OTHER, [TEXT], [TEXT[:-1]]),
        lambda: Keyring(TEXT, retired=TEXT),
        lambda: Keyring(TEXT, retired=5),  # type: ignore[arg-type] # as somebody may
        lambda: Keyring(TEXT, history=[TEXT]),
        lambda: Keyring(TEXT, (TEXT if n else str(1 // n) for n in (1, 0))),
        lambda: sealing_key(Service(SealingKey("0" * 15, Key(SECRET).seal_key))),
        lambda: sealing_key(Service(SealingKey("0" * 16, Key(SECRET).seal_key[:31]))),
        lambda: sealing_key(Service(SealingKey("0" * 16, Key(SECRET).seal_key, "\n"))),
    ],
)
def test_no_local_of_ours_holds_a_key(make: Callable[[], object]) -> None:
    """An error tracker sends the locals of each frame of a traceback; no key is in ours."""
    with pytest.raises((KeyFormatError, ZeroDivisionError)) as caught:
        make()
    shown = locals_of_ours(caught.value)
    assert shown  # and each of them has a repr, also of what is half made
    assert shown_of(BODY, *shown) == []
    assert not any(repr(Key(SECRET).seal_key)[2:12] in text for text in shown)


def test_what_was_refused_has_a_repr() -> None:
    """A key, sealing key or keyring that is half made can be looked at, as debuggers do."""
    assert repr(Key.__new__(Key)) == "<Key refused>"
    assert repr(SealingKey.__new__(SealingKey)) == "<SealingKey refused>"
    refused = Keyring.__new__(Keyring)
    with pytest.raises(KeyFormatError):
        refused.__init__(TEXT[:-1])  # type: ignore[misc] # as `Keyring()` does
    assert repr(refused) == "<Keyring refused>"


# Keys for history ---------------------------------------------------------------------------------


def test_history_keys_open_older_versions_alone() -> None:
    """What is current is refused with a key of history, and the error says what that may mean."""
    ring = Keyring(TEXT, history=[OTHER])
    with pytest.raises(UnknownKeyError, match="opens nothing current") as caught:
        ring.opening_key(Header(OTHER.id))
    error = caught.value
    assert (error.needed, error.at_hand, error.in_history) == (OTHER.id, ring.ids, True)
    assert "whoever has it may have written this" in str(error)
    assert "run ptb-s3 rotate" in str(error)
    older = for_history(ring)
    assert older.opening_key(Header(OTHER.id)) == OTHER.seal_key
    assert older.opening_key(Header(Key(SECRET).id)) == Key(SECRET).seal_key
    assert older.sealing_key() == ring.sealing_key()
    assert (ring.ids, ring.history_ids) == ((Key(SECRET).id,), (OTHER.id,))
    assert repr(ring) == f"<Keyring {Key(SECRET).id}; history: {OTHER.id}>"


def test_a_key_service_needs_no_second_source() -> None:
    """A source that makes no difference between current and older serves both."""
    service = Service(SealingKey("0" * 16, bytes(32)))
    assert for_history(service) is service


@pytest.mark.parametrize(
    ("retired", "history", "says"),
    [
        ([], [TEXT], "seals, and is among the history keys"),
        ([OTHER], [OTHER], "is among the retired keys and the history keys"),
        ([TEXT, OTHER], [OTHER.reveal(), TEXT], "seals, and is among the history keys"),
    ],
)
def test_a_key_that_opens_what_is_current_is_none_of_history(
    retired: list[str | Key], history: list[str | Key], says: str
) -> None:
    """It would be thought to open nothing current, and does."""
    with pytest.raises(KeyFormatError, match=says):
        Keyring(TEXT, retired, history)


def test_one_history_key_outside_a_list_is_refused() -> None:
    """As with retired keys: a text is no list of its characters."""
    with pytest.raises(KeyFormatError, match=r"History keys .* history=\[leaked_key\]"):
        Keyring(TEXT, history=OTHER.reveal())
    with pytest.raises(KeyFormatError, match=r"^History key 1 has 47 characters"):
        Keyring(TEXT, history=[TEXT[:-1]])


# What a key service gives -------------------------------------------------------------------------


@dataclass(frozen=True)
class Service:
    """A key source of somebody's own."""

    key: SealingKey

    def sealing_key(self) -> SealingKey:
        return self.key

    def opening_key(self, _: SealedHeader) -> bytes:
        return self.key.secret


@pytest.mark.parametrize(
    ("key_id", "secret", "wrapped", "says"),
    [
        ("arn:aws:kms:eu-1:1:key/x", bytes(32), None, "A key's id is text of 16 digits"),
        ("0123456789ABCDEF", bytes(32), None, "A key's id is text of 16 digits"),
        ("0123456789abcdef\n", bytes(32), None, "A key's id is text of 16 digits"),
        (b"0123456789abcdef", bytes(32), None, "A key's id is text of 16 digits"),
        ("0123456789abcdef", bytes(31), None, "sealed with 32 bytes"),
        ("0123456789abcdef", bytearray(32), None, "of type bytes"),
        ("0123456789abcdef", bytes(32), "A" * 16_385, "up to 16,384 printable"),
        ("0123456789abcdef", bytes(32), "\u00e9", "printable characters of ASCII"),
        ("0123456789abcdef", bytes(32), "a\n", "printable characters of ASCII"),
        ("0123456789abcdef", bytes(32), b"AAAA", "A wrapped key is text"),
    ],
)
def test_what_no_header_holds_seals_nothing(
    key_id: Any, secret: Any, wrapped: Any, says: str
) -> None:
    """A key service hears of it when it gives the key, and not when nobody can read the state."""
    with pytest.raises(KeyFormatError, match=says):
        sealing_key(Service(SealingKey(key_id, secret, wrapped)))


@pytest.mark.parametrize("wrapped", [None, "", "~" * 16_384, '"\\' * 8_192])
def test_what_a_key_service_gives_is_read_back(wrapped: str | None) -> None:
    """The largest wrapped key, of characters that JSON escapes, still fits into a header."""
    service = Service(SealingKey("0123456789abcdef", bytes(32), wrapped))
    body = container.seal(HEADER, [], service.sealing_key())
    assert open_sealed("head", body, service)[0].wrapped_key == wrapped


HEADER = container.Header(
    object="head",
    store="00000000-0000-4000-8000-000000000000",
    revision=1,
    commit="0" * 32,
    created=datetime(2026, 11, 29, tzinfo=UTC),
    writer="0" * 16,
    line="0" * 16,
    key="",
    serializer="pickle5",
    entities=0,
    changed=container.Changed(),
    size=0,
)
