"""Outsider of the demo as a process: ``python -m ptb_s3.cli._demo.outsider``.

An attacker who has the storage with all rights, and no key: the provider, or a thief. Commands on
standard input (`pipe`): ``make_bucket``, ``survey``, ``search``, ``stop``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ptb_s3._format.container import read_header
from ptb_s3._history.order import by_time
from ptb_s3._storage.s3 import S3Store
from ptb_s3.cli._demo.pipe import Json, answer, commands, run

_SHOWN_BYTES = 24  # of the ciphertext, in the demo's output


async def serve() -> None:
    """Make the bucket, then report what can be seen of it, until ``stop``."""
    orders = commands()
    where = await anext(orders)
    store = S3Store(where["bucket"], endpoint_url=where["endpoint_url"])
    try:
        await _make_bucket(store)
        answer()
        async for order in orders:
            if order["do"] == "stop":
                break
            if order["do"] == "survey":
                answer(objects=await _survey(store))
            else:
                answer(**await _search(store, order["texts"]))
    finally:
        await store.close()
    answer()


async def _client(store: S3Store) -> Any:  # noqa: ANN401 - aioboto3 ships no types
    """Return the client of a store: the library itself makes and lists no buckets."""
    # The library makes and lists no buckets, so its store has no methods for that.
    return await store._client()  # noqa: SLF001 - see above


async def _make_bucket(store: S3Store) -> None:
    """Make a bucket with versioning."""
    client = await _client(store)
    await client.create_bucket(Bucket=store.bucket)
    await client.put_bucket_versioning(
        Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"}
    )


async def _survey(store: S3Store) -> list[Json]:
    """Describe every object in the bucket by what can be read without a key."""
    page = await (await _client(store)).list_objects_v2(Bucket=store.bucket)
    return [await _describe(store, entry["Key"]) for entry in page.get("Contents", [])]


async def _describe(store: S3Store, name: str) -> Json:
    """Describe an object by its versions, its header, and the beginning of its ciphertext."""
    listed = [version async for version in store.versions(name)]
    versions = [version.version_id for version in by_time(listed)]
    body = await _body(store, name, versions[0])
    header, start = read_header(name, body)
    return {
        "name": name,
        "bytes": len(body),
        "versions": versions,
        "key": header.key,
        "revision": header.revision,
        "ciphertext": body[start : start + _SHOWN_BYTES].hex(),
    }


async def _search(store: S3Store, texts: list[str]) -> Json:
    """Look for texts in every version of every object."""
    sought = {text: _encodings(text) for text in texts}
    found: set[str] = set()
    versions = size = 0
    async for body in _all_versions(store):
        versions, size = versions + 1, size + len(body)
        found |= {text for text, forms in sought.items() if any(form in body for form in forms)}
    return {"found": sorted(found), "versions": versions, "bytes": size}


async def _all_versions(store: S3Store) -> AsyncIterator[bytes]:
    """Iterate over the bytes of every version of every object."""
    for entry in await _survey(store):
        for version in entry["versions"]:
            yield await _body(store, entry["name"], version)


async def _body(store: S3Store, name: str, version: str) -> bytes:
    """Return the bytes of a version, or none if it is gone."""
    fetched = await store.get(name, version_id=version)
    return fetched.body if fetched else b""


def _encodings(text: str) -> list[bytes]:
    """Return the bytes of a text in two encodings, and of a number in binary as well."""
    forms = [text.encode(), text.encode("utf-16-le")]
    if text.isdecimal():
        size = (int(text).bit_length() + 7) // 8
        forms += [int(text).to_bytes(size, "big"), int(text).to_bytes(size, "little")]
    return forms


if __name__ == "__main__":
    run(serve)
