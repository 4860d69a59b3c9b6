"""Recovery: find the newest state that the versions give, whatever became of current objects.

Nothing is written here, and the current objects are never relied on. The result is a commit
(`ptb_s3._history.recovery_search`) with the data of each kind as of that commit or, where no blob
is left that it can build on, as of the newest blob that opens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ptb_s3._format.committed import overlay
from ptb_s3._format.container import Header
from ptb_s3._format.entities import Entities, Kind
from ptb_s3._format.erasure import Erasures
from ptb_s3._format.head import MAX_RESTORED, Head, Part
from ptb_s3._format.reader import Reader
from ptb_s3._history.blobs import BlobVersions
from ptb_s3._history.current import Current
from ptb_s3._history.headers import read_headers
from ptb_s3._history.listing import pages_by_age
from ptb_s3._history.order import Commit
from ptb_s3._history.recovery_search import RecoverySearch, Unread, by_age
from ptb_s3._storage.contract import Store
from ptb_s3._storage.threads import Offload
from ptb_s3.errors import DamagedObjectError, UnknownKeyError

# Revisions to skip after the newest commit that opens, at most. They are read from headers of
# versions that do not open, so that nothing authenticates them: without a bound, one forged header
# could use up all revisions there are.
MAX_GAP = 2**20


@dataclass(slots=True)
class Found:
    """Newest state that the versions give.

    Attributes:
        commit: The commit that it is of: version and header.
        header: The header of that commit.
        head: The same commit, opened.
        entities: The state, without entities that were erased since.
        of: The revision that each kind's data is of; None: no version of it is left.
        unread: Newer versions of head that do not open, newest first.
        newest: The highest revision that any header of the store gives, bounded by `MAX_GAP`.
        restored: Restore requests that any opened head has carried out, oldest first.
        erasures: The erasures that those heads record, one for each secret: as a rule, one.
    """

    commit: Commit
    header: Header
    head: Head
    entities: dict[Kind, Entities]
    of: dict[Kind, int | None]
    unread: list[Unread]
    newest: int
    restored: tuple[str, ...]
    erasures: list[Erasures]


async def find_newest(
    store: Store,
    reader: Reader,
    current: Mapping[str, Current],
    offload: Offload,
    *,
    store_id: str | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Found:
    """Find the newest state that the versions give.

    Where the storage lists versions newest first, as S3 does, it usually takes one page of them.

    Args:
        store: Where they lie.
        reader: Opens them; see `Reader.for_history`.
        current: The current objects, whose headers may give a higher revision.
        offload: Runs decryption, which would hold up the event loop.
        store_id: The store whose state it is to be; None: that of the newest version which opens.
        advance: Called with how many versions have been listed.

    Raises:
        NothingThereError: No version opens.
        StorageError: The versions cannot be listed or read.
    """
    search = RecoverySearch(store, reader, offload, store_id)
    async for versions in pages_by_age(store, advance):
        if await search.through(await read_headers(store, versions)):
            break
    if search.found is None:
        raise search.nothing()
    store_id = search.found[0].known_header.store
    headers = [one.header for one in current.values() if one.header is not None]
    newest = max([search.newest, *(h.revision for h in headers if h.store == store_id)])
    return await _assemble(BlobVersions(store, reader, store_id), search, search.found, newest)


async def _assemble(
    blobs: BlobVersions, search: RecoverySearch, found: tuple[Commit, Head], newest: int
) -> Found:
    """Return the state of a commit, with the data of each kind that any version gives.

    Args:
        blobs: Reads the blobs of its store.
        search: The search that found it.
        found: The commit, with its head.
        newest: The highest revision that any header of the store gives.
    """
    commit, head = found
    erasures = _erasures([head, *search.others])
    entities, of = dict[Kind, Entities](), dict[Kind, int | None]()
    for kind, part in head.parts.items():
        entities[kind], of[kind] = await _kind_at(blobs, kind, part, head)
        for erased in erasures:
            erased.apply(kind, entities[kind], of[kind] or 0)
    restored = [request for other in [*search.others, head] for request in other.restored]
    return Found(
        commit=commit,
        header=commit.known_header,
        head=head,
        entities=entities,
        of=of,
        unread=by_age(search.unread),
        newest=min(newest, head.revision + MAX_GAP),
        restored=tuple(dict.fromkeys(reversed(restored)))[:MAX_RESTORED][::-1],
        erasures=erasures,
    )


async def _kind_at(
    blobs: BlobVersions, kind: Kind, part: Part, head: Head
) -> tuple[Entities, int | None]:
    """Return a kind's data as of a head or, if that is beyond help, as of its newest blob.

    Returns:
        The entities, and the revision that they are of; None: there is nothing left of them.
    """
    try:
        entities = await blobs.at(kind, part, head)
    except (DamagedObjectError, UnknownKeyError):
        entities = None
    if entities is not None:
        overlay(entities, part)
        return entities, head.revision
    return await blobs.newest(kind)


def _erasures(heads: Iterable[Head]) -> list[Erasures]:
    """Return the erasures that heads record, put together by their secret."""
    found: dict[bytes, Erasures] = {}
    for erasures in (head.erasures for head in heads):
        if erasures is None:
            continue
        known = found.setdefault(erasures.secret, erasures)
        digests = {*known.revisions, *erasures.revisions}
        newest = {
            digest: max(known.revisions.get(digest, 0), erasures.revisions.get(digest, 0))
            for digest in digests
        }
        found[erasures.secret] = Erasures(erasures.secret, newest)
    return list(found.values())
