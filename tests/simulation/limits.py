"""The limits of the format and of the engine, scaled down so that a short schedule meets each."""

from __future__ import annotations

import random
import sys
import typing
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any
from unittest import mock

import msgspec

from ptb_s3._format import entities, head_pages, index

# Like the real ones among each other, as far as that goes: each entry counts for at least 32 bytes,
# and a segment is to have a few. So few changes are many that some schedules have more of them.
PAGES = {
    "PAGE": 320,
    "PAGE_SIZE": 1280,
    "MAX_ENTRIES": 40,
    "SEGMENT_SIZE": 200,
    "MANY_CHANGES": 25,
    "SORTED_AT_ONCE": 7,
}
# Bytes of a blob that are read at once, where it is read on demand: a part of the index, and a few
# segments.
DEMAND = {"SEGMENT_SIZE": 200, "BATCH": 600, "INDEX_BYTES": 600, "AT_ONCE": 2}
LISTS = {"MAX_WRITERS": 10, "MAX_LINES": 12, "MAX_RANGES": 9, "MAX_RESTORED": 4, "MAX_WORDS": 12}
HUGE = {"MAX_ENTITY": 80, "MAX_PAGE": 80 + 2 * 1280}


@contextmanager
def scaled(rng: random.Random, features: frozenset[str]) -> Iterator[None]:
    """Have the engine work within smaller limits, each the smaller one about every second time."""
    limits: dict[str, int] = {}
    if "on_demand" in features:
        limits |= {name: limit for name, limit in DEMAND.items() if rng.random() < 0.7}
    if "pages" in features:
        limits |= PAGES
        limits |= {name: limit for name, limit in LISTS.items() if rng.random() < 0.5}
    if "huge" in features:
        limits |= {**PAGES, **HUGE}
    with ExitStack() as stack:
        for name, limit in limits.items():
            for module in having(name):
                stack.enter_context(mock.patch.object(module, name, limit))
        if "PAGE_SIZE" in limits:
            _scale_decoders(stack, limits)
        yield


def having(name: str) -> list[Any]:
    """Return the modules of the engine that have a name of their own for something."""
    modules = [module for at, module in sorted(sys.modules.items()) if at.startswith("ptb_s3.")]
    return [module for module in modules if name in vars(module)]


def _scale_decoders(stack: ExitStack, limits: Mapping[str, int]) -> None:
    """Make decoders anew that were made with the real limits, as modules do when imported."""
    for function in (entities.pages, entities.is_full):
        stack.enter_context(mock.patch.object(function, "__defaults__", (limits["PAGE_SIZE"],)))
    kinds = entities.KEY_TYPES.items()
    decoder: Any = msgspec.msgpack.Decoder
    blobs = {kind: decoder(entities.page_of(key, bytes)) for kind, key in kinds}
    pages = {kind: decoder(entities.page_of(key, int, bytes | None)) for kind, key in kinds}
    of_segment = (index._Positive,) * 3
    indexes = {kind: decoder(entities.page_of(key, *of_segment)) for kind, key in kinds}
    stack.enter_context(mock.patch.object(entities, "_blob_decoders", blobs))
    stack.enter_context(mock.patch.object(index, "_decoders", indexes))
    stack.enter_context(mock.patch.object(head_pages, "_entry_decoders", pages))
    hints = typing.get_type_hints(head_pages._Record, include_extras=True)
    for name, limit in (
        ("writers", limits.get("MAX_WRITERS")),
        ("lines", limits.get("MAX_LINES")),
        ("updates", limits.get("MAX_RANGES")),
        ("restored", limits.get("MAX_RESTORED")),
        ("words", limits.get("MAX_WORDS")),
    ):
        if limit is not None and isinstance(bounds := _bounds(hints.get(name)), msgspec.Meta):
            own = msgspec.Meta(min_length=bounds.min_length, max_length=limit)
            hints[name] = Annotated[hints[name].__origin__, own]
    record = msgspec.defstruct(
        "_Record", list(hints.items()), frozen=True, forbid_unknown_fields=True
    )
    stack.enter_context(mock.patch.object(head_pages, "_record_decoder", decoder(record)))


def _bounds(hint: Any) -> object:
    return next(iter(getattr(hint, "__metadata__", ())), None)
