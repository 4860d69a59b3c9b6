"""Headers of versions: the one way to read them, without a key.

A header is the readable start of an object. To read one takes a ranged GET of a kilobyte, however
large the object is, and no key. So it is not authenticated here: good for finding a commit, which
is opened, and so authenticated, before anything of it is used.

| function              | of                        | of a version that has expired   |
|-----------------------|---------------------------|---------------------------------|
| `peek`                | bytes that are there      |                                 |
| `read_current_header` | the current head          |                                 |
| `read_header`         | one version               | None                            |
| `stream_headers`      | many, one by one in order | None in its place               |
| `read_headers`        | many                      | left out                        |
| `require_headers`     | many                      | left out, if the list agrees    |
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from ptb_s3._format import container
from ptb_s3._format.container import HEAD, MAX_PREAMBLE, Header
from ptb_s3._history.listing import require_gone
from ptb_s3._history.order import Commit
from ptb_s3._history.pipeline import pipelined
from ptb_s3._storage.contract import Fetched, Store, Version
from ptb_s3.errors import DamagedObjectError


def peek(name: str, fetched: Fetched | None) -> Header | None:
    """Return the header at the beginning of an object, or None if it cannot be read.

    Args:
        name: The object, which the header has to name as well.
        fetched: The object, or as much of it as a header may take; None: there is no object.
    """
    try:
        return container.read_header(name, fetched.body)[0] if fetched else None
    except DamagedObjectError:
        return None


async def read_current_header(store: Store) -> Header | None:
    """Read the header of the current head, or return None if there is no head.

    Raises:
        DamagedObjectError: It cannot be read.
    """
    fetched = await store.get(HEAD, first_bytes=MAX_PREAMBLE)
    return None if fetched is None else container.read_header(HEAD, fetched.body)[0]


async def read_header(store: Store, version: Version, name: str = HEAD) -> Commit | None:
    """Read the header of one version, or return None if the version is gone.

    Returns:
        The version with its header, which is None where it cannot be read.
    """
    found = await store.get(name, version_id=version.version_id, first_bytes=MAX_PREAMBLE)
    return None if found is None else Commit(version, peek(name, found))


async def stream_headers(
    store: Store, versions: Sequence[Version], name: str = HEAD
) -> AsyncGenerator[Commit | None, None]:
    """Read the headers of versions, several at a time, and yield one item for each in order.

    Each item is as `read_header` returns it.
    """

    async def read(version: Version) -> Commit | None:
        return await read_header(store, version, name)

    async with aclosing(pipelined(versions, read)) as commits:
        async for commit in commits:
            yield commit


async def read_headers(
    store: Store,
    versions: Sequence[Version],
    name: str = HEAD,
    advance: Callable[[int, int], None] = lambda _, __: None,
) -> list[Commit]:
    """Read the headers of versions, leaving out versions that are gone.

    Args:
        store: Where they lie.
        versions: Which ones.
        name: The object that they are versions of.
        advance: Called with how many have been read, and of how many.
    """
    found: list[Commit] = []
    async with aclosing(stream_headers(store, versions, name)) as commits:
        async for commit in commits:
            found += [] if commit is None else [commit]
            advance(len(found), len(versions))
    return found


async def require_headers(
    store: Store,
    versions: Sequence[Version],
    name: str = HEAD,
    advance: Callable[[int, int], None] = lambda _, __: None,
) -> list[Commit]:
    """Read the headers of versions as `read_headers` does, where none may be overlooked.

    Raises:
        StorageError: The storage still lists a version that it does not give.
    """
    found = await read_headers(store, versions, name, advance)
    read = {commit.version.version_id for commit in found}
    await require_gone(store, [(name, v) for v in versions if v.version_id not in read])
    return found


def of_store(commits: Sequence[Commit], store_id: str) -> list[Commit]:
    """Return those whose header can be read and says that they belong to a store."""
    return [c for c in commits if c.header is not None and c.header.store == store_id]
