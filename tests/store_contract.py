"""Contract suite of `Store`: whoever writes a store has its test class inherit `StoreContract`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from ptb_s3._storage.blocking import BlockingStore
from ptb_s3._storage.contract import Fetched, NotModified, PreconditionFailed, Store, Written
from ptb_s3._storage.spool import Spool


async def _versions(store: Store, name: str) -> set[str | None]:
    listed = [version.version_id async for version in store.versions(name)]
    assert len(set(listed)) == len(listed)
    return set(listed)


def _of(fetched: Fetched | None) -> tuple[bytes, str, str | None] | None:
    """Body, ETag and version id; the time is another matter."""
    return fetched and (fetched.body, fetched.etag, fetched.version_id)


async def _body(store: Store, name: str) -> bytes:
    fetched = await store.get(name)
    assert fetched is not None
    return fetched.body


class _EnoughError(Exception):
    """Seen enough of it."""


class StoreContract:
    """What every store does. A subclass says by its fixtures which store it is tried on."""

    @pytest.fixture
    def store(self) -> Store:
        """A store with history."""
        raise NotImplementedError

    @pytest.fixture
    def unversioned(self) -> Store:
        """A store without history."""
        raise NotImplementedError

    @pytest.fixture
    def delete(self) -> Callable[[str], Awaitable[None]]:
        """Delete an object of `store` as an outsider would, leaving a delete marker."""
        raise NotImplementedError

    async def test_what_was_never_written_is_absent(self, store: Store) -> None:
        """Absence is None, whole, in part, and in history."""
        assert await store.get("head") is None
        assert await store.get("head", first_bytes=10) is None
        assert await _versions(store, "head") == set()

    async def test_what_was_written_is_read_back(self, store: Store) -> None:
        """A read gives the bytes, and the ETag and version that the write was told."""
        written = await store.put("head", b"one", if_match=None)
        fetched = await store.get("head")
        assert fetched is not None
        assert _of(fetched) == (b"one", written.etag, written.version_id)
        assert isinstance(fetched.body, bytes)

    async def test_create_only_creates_only_once(self, store: Store) -> None:
        """Without an ETag to match, an object that is there stays what it is."""
        await store.put("head", b"one", if_match=None)
        with pytest.raises(PreconditionFailed):
            await store.put("head", b"two", if_match=None)
        assert await _body(store, "head") == b"one"

    async def test_the_etag_last_seen_lets_one_write(self, store: Store) -> None:
        """Each write needs the ETag of the one before it."""
        first = await store.put("head", b"one", if_match=None)
        second = await store.put("head", b"two", if_match=first.etag)
        third = await store.put("head", b"three", if_match=second.etag)
        assert len({first.etag, second.etag, third.etag}) == 3
        assert await _body(store, "head") == b"three"

    async def test_a_stale_etag_does_not(self, store: Store) -> None:
        """What has changed since it was read is not overwritten."""
        first = await store.put("head", b"one", if_match=None)
        await store.put("head", b"two", if_match=first.etag)
        with pytest.raises(PreconditionFailed):
            await store.put("head", b"three", if_match=first.etag)
        assert await _body(store, "head") == b"two"

    async def test_nothing_there_to_be_replaced(self, store: Store) -> None:
        """An ETag matches no object that never was. (AWS: 404; others: 412; old MinIO wrote.)"""
        with pytest.raises(PreconditionFailed):
            await store.put("head", b"one", if_match='"d41d8cd98f00b204e9800998ecf8427e"')
        assert await store.get("head") is None

    async def test_after_a_deletion(
        self, store: Store, delete: Callable[[str], Awaitable[None]]
    ) -> None:
        """A delete marker is absence: nothing to read, nothing to match, room to create."""
        written = await store.put("head", b"one", if_match=None)
        await delete("head")
        assert await store.get("head") is None
        with pytest.raises(PreconditionFailed):
            await store.put("head", b"two", if_match=written.etag)
        again = await store.put("head", b"three", if_match=None)
        assert await _body(store, "head") == b"three"
        assert await _versions(store, "head") == {again.version_id, written.version_id}

    async def test_versions_are_distinct_and_can_be_read(self, store: Store) -> None:
        """Every version stays readable by its id, those of equal content as well."""
        bodies = [b"one", b"two", b"two", b"three"]
        history: list[tuple[bytes, Written]] = []
        for body in bodies:
            if_match = history[-1][1].etag if history else None
            history.append((body, await store.put("head", body, if_match=if_match)))
        assert len({written.version_id for _, written in history}) == len(bodies)
        for body, written in history:
            fetched = await store.get("head", version_id=written.version_id)
            assert _of(fetched) == (body, written.etag, written.version_id)

    @pytest.mark.parametrize(
        "version_id",
        [
            "no-such-version",
            "00000000-0000-0000-0000-000000000000",
            "67154b17856abe03c28b9a8f0d365439",
        ],
    )
    async def test_a_version_that_never_was_is_absent(self, store: Store, version_id: str) -> None:
        """An id that the storage never gave is None, whatever it looks like."""
        await store.put("head", b"one", if_match=None)
        assert await store.get("head", version_id=version_id) is None

    async def test_history_says_what_is_current(self, store: Store) -> None:
        """Each version is listed with its size, in whatever order, and one of them is current."""
        written = [await store.put("head", b"0", if_match=None)]
        for number in range(1, 5):
            body = b"%d" % number * (number + 1)
            written.append(await store.put("head", body, if_match=written[-1].etag))
        versions = {v.version_id: v async for v in store.versions("head")}
        assert [versions[w.version_id or ""].size for w in written] == [1, 2, 3, 4, 5]
        assert len(versions) == 5
        latest = [v.version_id for v in versions.values() if v.is_latest]
        assert latest == [written[-1].version_id]

    @pytest.mark.parametrize("neighbour", ["head2", "head/", "hea", "heads"])
    async def test_neighbours_are_no_history(self, store: Store, neighbour: str) -> None:
        """An object whose name begins as another's has a history of its own."""
        written = [await store.put("head", b"0", if_match=None)]
        await store.put(neighbour, b"another object", if_match=None)
        written.append(await store.put("head", b"1", if_match=written[0].etag))
        assert await _versions(store, "head") == {each.version_id for each in written}
        assert len(await _versions(store, neighbour)) == 1

    async def test_what_is_deleted_is_not_current(
        self, store: Store, delete: Callable[[str], Awaitable[None]]
    ) -> None:
        """Under a delete marker, versions are there and none of them is the latest."""
        await store.put("head", b"one", if_match=None)
        await delete("head")
        assert [version.is_latest async for version in store.versions("head")] == [False]

    async def test_what_was_deleted_is_told_from_what_never_was(
        self, store: Store, delete: Callable[[str], Awaitable[None]]
    ) -> None:
        """Its newest version is named, which is that very deletion's and no other one's."""
        assert await store.remains("x") is None
        await store.put("x", b"1", if_match=None)
        assert await store.remains("x") is None
        newest = await store.put("x", b"2", if_match=(await store.get("x")).etag)  # type: ignore[union-attr]  # it is there
        await delete("x")
        remains = await store.remains("x")
        assert remains is not None
        assert (remains.version_id, remains.versions, remains.more) == (newest.version_id, 2, False)
        assert remains.marker not in (None, newest.version_id)
        assert remains.deleted is not None
        assert await store.remains("xy") is None

    async def test_history_has_times(self, store: Store) -> None:
        """Times have a zone, never run backwards, are about now, and are the same in a read."""
        written = [await store.put("head", b"one", if_match=None)]
        written.append(await store.put("head", b"two", if_match=written[0].etag))
        times = {version.version_id: version.modified async for version in store.versions("head")}
        older, newer = (times[each.version_id or ""] for each in written)
        assert older <= newer
        assert abs(datetime.now(UTC) - newer) < timedelta(minutes=1)
        for other in (None, '"none"'):
            fetched = await store.get("head", if_none_match=other)
            assert fetched is not None
            assert fetched.modified is not None
            assert abs(fetched.modified - newer) <= timedelta(
                seconds=1
            )  # HTTP's dates have no more

    async def test_a_read_if_it_has_changed(self, store: Store) -> None:
        """With the ETag last seen, what is unchanged is `NotModified`, else it comes whole."""
        assert await store.get("head", if_none_match='"none"') is None
        one = await store.put("head", b"one", if_match=None)
        for _ in range(2):
            with pytest.raises(NotModified):
                await store.get("head", if_none_match=one.etag)
        two = await store.put("head", os.urandom(300_000), if_match=one.etag)
        fetched = await store.get("head", if_none_match=one.etag)
        assert fetched is not None
        assert (len(fetched.body), *fetched[1:3]) == (300_000, *two)

    async def test_a_body_goes_into_the_sink(self, store: Store) -> None:
        """Whole, with its size first; with the ETag last seen, too, unless it is the object's."""
        body = os.urandom(300_000)
        sizes: list[int] = []
        pieces: list[bytes] = []

        def into(size: int) -> Callable[[bytes], None]:
            sizes.append(size)
            return pieces.append

        assert await store.stream("head", into) is None
        assert sizes == []
        written = await store.put("head", body, if_match=None)
        for other in (None, '"none"'):
            sizes.clear()
            pieces.clear()
            received = await store.stream("head", into, if_none_match=other)
            assert received is not None
            assert (received.etag, received.version_id) == written
            assert received.modified is not None
            assert (sizes, b"".join(pieces)) == ([len(body)], body)
        sizes.clear()
        with pytest.raises(NotModified):
            await store.stream("head", into, if_none_match=written.etag)
        assert sizes == []

    @pytest.mark.parametrize("size", [0, 1])
    async def test_a_small_body_goes_into_the_sink(self, store: Store, size: int) -> None:
        """The sink is told of an empty object, too: it may be damage, and is not absence."""
        await store.put("head", bytes(size), if_match=None)
        told: list[bytes | int] = []

        def into(size: int) -> Callable[[bytes], None]:
            told.append(size)
            return told.append

        assert await store.stream("head", into) is not None
        assert told[0] == size
        assert b"".join(piece for piece in told[1:] if isinstance(piece, bytes)) == bytes(size)

    @pytest.mark.parametrize("if_none_match", [None, '"none"'], ids=["always", "if changed"])
    @pytest.mark.parametrize("at_once", [True, False], ids=["size", "piece"])
    async def test_whoever_takes_it_may_refuse(
        self, store: Store, if_none_match: str | None, *, at_once: bool
    ) -> None:
        """What is raised of the size or a piece is raised by the read; the next one is whole."""
        await store.put("head", os.urandom(300_000), if_match=None)

        def refuse(_piece: bytes) -> None:
            raise _EnoughError

        def into(_size: int) -> Callable[[bytes], None]:
            if at_once:
                raise _EnoughError
            return refuse

        with pytest.raises(_EnoughError):
            await store.stream("head", into, if_none_match=if_none_match)
        assert len(await _body(store, "head")) == 300_000

    @pytest.mark.parametrize("size", [0, 1, 2**18, 5 * 2**20 + 3])
    async def test_a_body_that_is_not_in_memory(self, store: Store, size: int) -> None:
        """It is written as it would be from memory, on a condition and without."""
        spooled, written = os.urandom(size), None
        with Spool() as spool:
            for at in range(0, size, 100_000):
                spool.write(spooled[at : at + 100_000])
            body = spool.body(b"beginning")
            for _ in range(2):
                written = await store.put("head", body, if_match=written and written.etag)
                assert _of(await store.get("head")) == (b"beginning" + spooled, *written)
            with pytest.raises(PreconditionFailed):
                await store.put("head", body, if_match=None)
            overwritten = await store.overwrite("other", body)
        assert _of(await store.get("other")) == (b"beginning" + spooled, *overwritten)

    async def test_overwriting_asks_nothing(self, store: Store) -> None:
        """For storage without conditions, a write takes effect whatever is there."""
        await store.overwrite("head", b"one")
        written = await store.overwrite("head", b"two")
        assert _of(await store.get("head")) == (b"two", *written)

    async def test_a_place_is_the_same_each_time(self, store: Store) -> None:
        """It tells where it was found out what the storage can do."""
        assert await store.place() == await store.place()

    async def test_first_bytes(self, store: Store) -> None:
        """No more than was asked for comes back, and no less where there is as much."""
        body = bytes(range(256)) * 4
        written = await store.put("head", body, if_match=None)
        for count in (0, 1, 100, 1024, 5000):
            fetched = await store.get("head", first_bytes=count)
            assert _of(fetched) == (body[:count], written.etag, written.version_id)
        version = await store.get("head", version_id=written.version_id, first_bytes=7)
        assert _of(version) == (body[:7], written.etag, written.version_id)

    async def test_a_range_of_one_version(self, store: Store) -> None:
        """As a slice has it, of an older version as well, by its id; else of the current one."""
        older, newer = os.urandom(300_000), os.urandom(200_000)
        one = await store.put("head", older, if_match=None)
        two = await store.put("head", newer, if_match=one.etag)
        for start, length in ((0, 1), (0, 300_000), (1000, 70_000), (299_999, 1), (5, 0)):
            part = await store.get_range("head", start, length, **one._asdict())
            assert part == older[start : start + length]
        for version_id in (two.version_id, None):
            part = await store.get_range("head", 7, 9, etag=two.etag, version_id=version_id)
            assert part == newer[7:16]

    async def test_a_range_ends_with_the_object(self, store: Store) -> None:
        """What is asked for beyond its end is left out, be it a part of the range or all of it."""
        written = await store.put("head", b"0123456789", if_match=None)
        for version_id in (written.version_id, None):
            for start, length in ((0, 11), (5, 100), (9, 2), (10, 1), (11, 5), (10**9, 10**6)):
                part = await store.get_range(
                    "head", start, length, etag=written.etag, version_id=version_id
                )
                assert part == b"0123456789"[start : start + length]
        empty = await store.put("head", b"", if_match=written.etag)
        assert await store.get_range("head", 0, 10, **empty._asdict()) == b""

    async def test_no_range_of_another_version(
        self, store: Store, delete: Callable[[str], Awaitable[None]]
    ) -> None:
        """What was never there, was replaced, deleted, or has another ETag, is None."""
        never = '"d41d8cd98f00b204e9800998ecf8427e"'
        assert await store.get_range("head", 0, 3, etag=never) is None
        one = await store.put("head", b"one", if_match=None)
        two = await store.put("head", b"two", if_match=one.etag)
        for etag in (never, one.etag):
            assert await store.get_range("head", 0, 3, etag=etag) is None
            assert await store.get_range("head", 10, 3, etag=etag) is None
            found = await store.get_range("head", 0, 3, etag=etag, version_id=two.version_id)
            assert found is None
        for nonsense in ("no-such-version", "67154b17856abe03c28b9a8f0d365439"):
            found = await store.get_range("head", 0, 3, etag=two.etag, version_id=nonsense)
            assert found is None
        await delete("head")
        assert await store.get_range("head", 0, 3, etag=two.etag) is None
        assert await store.get_range("head", 0, 3, **two._asdict()) == b"two"

    @pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1, 20 * 2**20])
    async def test_any_size(self, store: Store, size: int) -> None:
        """Empty, smallest, on both sides of 1 MiB (they are sent in different ways), and large."""
        body = os.urandom(size)
        written = await store.put("head", body, if_match=None)
        fetched = await store.get("head")
        assert _of(fetched) == (body, written.etag, written.version_id)
        first = await store.get("head", first_bytes=10)
        assert _of(first) == (body[:10], written.etag, written.version_id)
        assert [version.size async for version in store.versions("head")] == [size]

    @pytest.mark.parametrize("replacing", [False, True], ids=["create", "replace"])
    async def test_of_sixteen_writers_one_wins(self, store: Store, replacing: bool) -> None:  # noqa: FBT001 - a parameter
        """Writers that have seen the same state: one of them writes, and knows it."""
        seen = await store.put("head", b"seen", if_match=None) if replacing else None
        bodies = [b"writer %d" % number for number in range(16)]
        outcomes = await asyncio.gather(
            *(store.put("head", body, if_match=seen and seen.etag) for body in bodies),
            return_exceptions=True,
        )
        winners = [
            (body, outcome)
            for body, outcome in zip(bodies, outcomes, strict=True)
            if not isinstance(outcome, PreconditionFailed)
        ]
        assert len(winners) == 1, outcomes
        assert _of(await store.get("head")) == winners[0][0:1] + tuple(winners[0][1])  # type: ignore[arg-type]
        assert len(await _versions(store, "head")) == 1 + replacing

    async def test_close_and_use_again(self, store: Store) -> None:
        """Closing releases connections and nothing else; closing twice is closing."""
        await store.put("head", b"one", if_match=None)
        await store.close()
        await store.close()
        assert await _body(store, "head") == b"one"

    async def test_without_versioning(self, unversioned: Store) -> None:
        """All of it works without history; there are no version ids."""
        first = await unversioned.put("head", b"one", if_match=None)
        second = await unversioned.put("head", b"two", if_match=first.etag)
        assert (first.version_id, second.version_id) == (None, None)
        assert _of(await unversioned.get("head")) == (b"two", second.etag, None)
        assert await unversioned.get_range("head", 1, 5, **second._asdict()) == b"wo"
        assert await unversioned.get_range("head", 1, 5, **first._asdict()) is None
        with pytest.raises(PreconditionFailed):
            await unversioned.put("head", b"three", if_match=first.etag)
        assert len(await _versions(unversioned, "head")) == 1

    async def test_a_twin_serves_a_thread_whose_loop_is_another(self, store: Store) -> None:
        """While this loop is blocked, in the middle of its own connections."""
        written = await store.put("user_data", b"0123456789", if_match=None)
        blocking = BlockingStore(store.twin)
        try:
            found = blocking(
                lambda twin: twin.get_range(
                    *("user_data", 3, 4), etag=written.etag, version_id=written.version_id
                )
            )
        finally:
            blocking.close()
        assert found == b"3456"
        assert await _body(store, "user_data") == b"0123456789"
