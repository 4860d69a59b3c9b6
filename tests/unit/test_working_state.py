"""The base, what is staged on it, and the words: changed by their own methods alone."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.support import BOT_ID

from ptb_s3._engine.staging import Staged
from ptb_s3._engine.vocabulary import Vocabulary
from ptb_s3._format.blobs import Blob
from ptb_s3._format.committed import Base, Identity
from ptb_s3._format.entities import Kind
from ptb_s3._format.head import Head, Ref

USER = Kind.USER_DATA


def a_base(**given: Any) -> Base:
    return Base(Identity("store", "pickle5"), Head(1, "", BOT_ID), '"1"', **given)


def a_blob(revision: int, etag: str | None = '"b"') -> Blob:
    return Blob(etag, Ref(revision, None, 100, 1, "", ""))


@pytest.mark.parametrize("name", ["identity", "head", "etag", "blobs", "entities", "misplaced"])
def test_a_base_is_to_be_looked_at(name: str) -> None:
    """Nothing of it can be replaced from outside."""
    base = a_base()
    with pytest.raises(AttributeError):
        setattr(base, name, getattr(base, name))


def test_views_change_nothing() -> None:
    """Whoever looks at what is committed or staged cannot write past the bookkeeping."""
    staged = Staged(a_base())
    staged.stage(USER, 1, b"a", None)
    views = [staged.dirty[USER], staged.overtaken[USER], staged.base.blobs, staged.base.objects]
    for view in cast("list[dict[Any, Any]]", views):
        with pytest.raises(TypeError):
            view[USER] = b""
    assert staged.get(USER, 1) == b"a"


def test_views_go_with_what_they_show() -> None:
    """One that was taken before a change shows it."""
    staged = Staged(a_base())
    overtaken = staged.overtaken[USER]
    staged.note_seen(USER, 1, b"old")
    assert overtaken == {1: b"old"}
    staged.catch_up(USER, [1])
    assert overtaken == {}


def test_an_older_blob_replaces_none() -> None:
    """While one was being written, another writer's newer one may have been taken over."""
    base = a_base()
    base.misplace([USER])
    base.note_blob(USER, a_blob(5))
    assert not base.misplaced
    base.note_blob(USER, a_blob(4))
    assert base.blobs[USER] == a_blob(5)
    assert base.unpublished


def test_what_is_misplaced_is_looked_at_before_it_is_replaced() -> None:
    """The blob that was read in its place has another ETag than what lies there."""
    base = a_base(blobs={USER: a_blob(5)})
    base.misplace([USER, Kind.CHAT_DATA])
    assert base.blobs == {USER: a_blob(5, None)}
    assert base.misplaced == {USER, Kind.CHAT_DATA}


def test_a_drop_can_be_taken_back() -> None:
    """What was staged before it is staged again, and what was not is not."""
    staged = Staged(a_base(entities={kind: {1: b"a", 2: b"b"} for kind in Kind}))
    staged.stage(USER, 2, b"c", None)
    staged.drop(USER, 1)
    staged.drop(USER, 2)
    staged.unstage(USER, 1)
    staged.unstage(USER, 2)
    staged.restage(USER, 2, b"c")
    assert staged.entities(USER) == {1: b"a", 2: b"c"}
    assert staged.dirty[USER] == {2: b"c"}


def test_words_come_with_the_head_that_has_them() -> None:
    """One that was suggested is none until then, and no suggestion any more from then on."""
    vocabulary = Vocabulary(("a",))
    vocabulary.suggest(["b", "c"])
    assert [*vocabulary.known] == ["a"]
    vocabulary.learn(("a", "b"))
    assert [*vocabulary.known] == ["a", "b"]
    assert [*vocabulary.suggested] == ["c"]


def test_words_of_a_head_that_was_not_taken_over_are_forgotten() -> None:
    """Whatever a merge raises, even what ends the process: a stop saves once more."""
    vocabulary = Vocabulary(("a",))
    vocabulary.suggest(["b"])

    def merge() -> None:
        with vocabulary.learning(("a", "b")):
            assert [*vocabulary.known] == ["a", "b"]
            raise SystemExit

    with pytest.raises(SystemExit):
        merge()
    assert [*vocabulary.known] == ["a"]
    assert [*vocabulary.suggested] == ["b"]
