"""Judgement of what was tried: from evidence to findings, with what to do about them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ptb_s3._doctor.evidence import SAME_AS_SEEN, Latency, Left, Older, Part, Past, Race, Verdict
from ptb_s3._doctor.findings import TEMPLATES, Check, Finding, failed, ok, unknown, warning
from ptb_s3._storage.bucket_config import Unknown
from ptb_s3._storage.lifecycle import Rule, sweepers

_SLOW = 2000
"""Milliseconds of a PUT (95th percentile) above which to warn: flush() has 8 s in all."""
_OPEN = "Mend what stands in the way, and look again."
_NEEDED_FOR = {
    "PutObject": "a bot cannot save",
    "GetObject": "a bot cannot start",
    "GetObjectVersion": "no older state can be restored",
    "ListBucket": "a new bot does not start: to S3, what does not exist is denied",
}


def permissions(granted: Mapping[str, bool | None]) -> Finding:
    """Judge the permissions that a bot needs.

    Args:
        granted: Whether the credentials have each permission, by its name; None: not known.
    """
    data = {"granted": dict(granted)}
    missing = [name for name, may in granted.items() if may is False]
    if any(name in _NEEDED_FOR for name in missing):
        reasons = "; ".join(_NEEDED_FOR[name] for name in missing if name in _NEEDED_FOR)
        remedy = f"Give the credentials {', '.join(missing)}: {reasons}."
        return failed(Check.PERMISSIONS, f"{', '.join(missing)} missing", remedy, **data)
    if missing:
        found = f"{', '.join(missing)} missing: no history can be listed"
        remedy = (
            "A bot can do without, unless it is to go back to a revision or a time. But where a "
            "state was deleted, only AWS and MinIO say so without it: elsewhere, a bot would begin "
            "a new one."
        )
        return warning(Check.PERMISSIONS, found, remedy, **data)
    open_ = [name for name, may in granted.items() if may is None]
    if open_:
        return unknown(Check.PERMISSIONS, f"not known: {', '.join(open_)}", _OPEN, **data)
    return ok(Check.PERMISSIONS, f"{', '.join(granted)}", **data)


def excess(left: Left, outside: Mapping[str, bool | None]) -> Finding:
    """Judge the permissions that no bot needs.

    Args:
        left: Outcome of the clean-up, which shows whether versions may be deleted.
        outside: Whether each kind of access outside the prefix is granted; None: not known.
    """
    granted: dict[str, bool | None] = {"delete versions": _may_delete(left)}
    if left.denied:
        granted["delete objects"] = left.hidden
    granted |= {f"{what} outside the prefix": may for what, may in outside.items()}
    data = {"granted": granted}
    more = [what for what, may in granted.items() if may]
    if more:
        return warning(
            Check.EXCESS,
            f"may {', '.join(more)}",
            "Right for an operator, too much for a bot: whoever takes over the bot could do away "
            "with its history, or with what is not its. Give it the bot's policy of infra/bucket.",
            **data,
        )
    open_ = [what for what, may in granted.items() if may is None]
    if open_:
        return unknown(
            Check.EXCESS, f"not known whether they may {', '.join(open_)}", _OPEN, **data
        )
    return ok(Check.EXCESS, f"may not {', '.join(granted)}", **data)


def _may_delete(left: Left) -> bool | None:
    """Return whether versions may be deleted, or None if none was there to delete."""
    if left.denied:
        return False
    return True if left.deleted else None


def conditional_put(
    races: Sequence[Race],
    accepted: Sequence[str] | None,
    above_marker: Sequence[str] | None = None,
    before_suspension: Older | None = None,
    *,
    unquoted: bool = False,
) -> Finding:
    """Judge conditional PUT: would two writers overwrite each other, and can one save at all?

    The first of these that applies is the finding, from the worst to the best::

        a write was accepted that had to be refused      failed: two writers collide
        a race or a trial stayed undecided               unknown: nothing is proven
        a right If-Match is refused on the present head  failed: no commit succeeds
        conditions go wrong above a delete marker        warning: a state cannot be begun anew there
        otherwise                                        ok

    Args:
        races: Most telling race on each condition.
        accepted: Writes that were accepted and had to be refused; None: not tried.
        above_marker: Faults of conditions above a delete marker; None: not tried.
        before_suspension: State of a head that is older than a suspension of versioning; None:
            head is not so old.
        unquoted: Whether the storage takes ETags only without their quotation marks.
    """
    data = {
        "races": [race._asdict() | {"verdict": race.verdict} for race in races],
        "accepted": accepted,
        "above_marker": above_marker,
        "before_suspension": before_suspension,
        "unquoted": unquoted,
    }
    faults = [_lost(race) for race in races if race.verdict is Verdict.BROKEN]
    faults += [f"a write with {trial}" for trial in accepted or ()]
    if faults:
        return _overwrites(faults, data)
    undecided = [race.condition for race in races if race.verdict is Verdict.OPEN]
    undecided += ["what must be refused"] if accepted is None else []
    if undecided:
        return _undecided(undecided, data)
    if before_suspension is Older.REFUSED:
        return _refuses_older(data)
    if above_marker:
        return _looks_beneath(above_marker, data)
    marks = "; it takes ETags without their quotation marks alone" if unquoted else ""
    return ok(Check.CONDITIONAL_PUT, _won(races) + marks, **data)


def _overwrites(faults: Sequence[str], data: Mapping[str, object]) -> Finding:
    return failed(
        Check.CONDITIONAL_PUT,
        f"the storage accepts conditional writes that it must refuse ({'; '.join(faults)}): "
        "two writers would overwrite each other",
        "Do not keep a bot's state there. Use a storage that honours If-Match and "
        "If-None-Match; docs/providers.md lists some.",
        **data,
    )


def _undecided(conditions: Sequence[str], data: Mapping[str, object]) -> Finding:
    return unknown(
        Check.CONDITIONAL_PUT,
        f"inconclusive ({', '.join(conditions)}): answers were lost, or the storage was busy",
        "Look again. As long as this stays so, nothing is proven.",
        **data,
    )


def _refuses_older(data: Mapping[str, object]) -> Finding:
    return failed(
        Check.CONDITIONAL_PUT,
        f"the storage refuses a right {SAME_AS_SEEN} on a head that is older than the "
        "suspension of versioning: no commit will succeed",
        "Turn on versioning of the bucket again.",
        **data,
    )


def _looks_beneath(faults: Sequence[str], data: Mapping[str, object]) -> Finding:
    return warning(
        Check.CONDITIONAL_PUT,
        f"above a delete marker, {' and '.join(faults)}: the storage goes by the version "
        "beneath it",
        "Where a state was deleted, have its versions deleted for good before a bot begins "
        "another, or bring it back (ptb-s3 repair). Two writers do not overwrite each other.",
        **data,
    )


def _won(races: Sequence[Race]) -> str:
    rounds = min(race.rounds for race in races)
    each = f", in each of {rounds} races" if rounds > 1 else ""
    conditions = " and for ".join(race.condition for race in races)
    return f"one winner among {races[0].writers} writers, for {conditions}{each}"


def _lost(race: Race) -> str:
    if race.winners > 1:
        return f"{race.condition}: {race.winners} of {race.writers} writers won a race"
    return f"{race.condition}: what the one winner wrote is not there"


def ranges(part: Part) -> Finding:
    """Judge how a range of an object is served, which a bot that reads on demand asks for."""
    if part is Part.ALONE:
        return ok(Check.RANGES, "a part of an object is served by itself", part=part)
    served = "with all of it" if part is Part.WHOLE else "wrong, or not at all"
    cost = "reads a whole blob for each user" if part is Part.WHOLE else "cannot read its users"
    return warning(
        Check.RANGES,
        f"a part of an object is served {served}",
        f'With load="on_demand", a bot {cost} there: leave it at load="all".',
        part=part,
    )


def history(past: Past | None, *, kept: bool, listed: bool | None) -> Finding:
    """Judge the history: can a bot go back to the versions that are kept?

    Args:
        past: Evidence about the list of versions; None: there is none.
        kept: Whether the bucket keeps versions.
        listed: Whether the credentials may list them; None where the storage lists none.
    """
    if not kept:
        return ok(Check.HISTORY, "none: no versions are kept")
    if past is None and listed:
        return unknown(Check.HISTORY, "not known", _OPEN)
    if past is None:
        found = "versions are kept and not listed: one can go back to nothing but a version id"
        remedy = "Give the credentials ListBucketVersions, or use a storage that lists versions."
        return warning(Check.HISTORY, found, remedy)
    faults = _faults(past)
    if faults:
        return warning(
            Check.HISTORY,
            f"the storage's list of versions cannot be relied on: {'; '.join(faults)}",
            "A bot can save there. Going back, prune and forget --purge may be refused, or take "
            "long. Have few versions kept, or use another storage; docs/providers.md lists some.",
            **past._asdict(),
        )
    found = f"{_versions(past.versions)} are listed as they are served, newest first"
    return ok(Check.HISTORY, found, **past._asdict())


def _faults(past: Past) -> list[str]:
    faults = {
        f"{past.hidden} of {past.versions} are not in it": past.hidden,
        f"{past.unserved} of {past.versions} are not what a read by their id gives": past.unserved,
        "what it calls the latest is not what a read gives": not past.latest_served,
        "it is not in order, the newest first": not past.newest_first,
        "a list of several pages comes to no end": not past.ends,
    }
    return [fault for fault, there in faults.items() if there]


def latency(get: Latency, put: Latency) -> Finding:
    """Judge the latency of reads and writes."""
    found = "; ".join(
        f"{what} {it.median:.0f} ms (median), {it.p95:.0f} ms (95th percentile)"
        for what, it in (("GET", get), ("PUT", put))
    )
    data = {"get": _milliseconds(get), "put": _milliseconds(put)}
    if put.p95 > _SLOW:
        remedy = "Move the bot closer to the bucket: flush() has 8 s for its writes at the end."
        return warning(Check.LATENCY, found, remedy, **data)
    return ok(Check.LATENCY, found, **data)


def _milliseconds(latency: Latency) -> dict[str, float]:
    median, p95 = round(latency.median, 1), round(latency.p95, 1)
    return {"requests": latency.requests, "median_ms": median, "p95_ms": p95}


def clean_up(
    left: Left, rules: Sequence[Rule] | Unknown | None, folder: str, *, versioned: bool
) -> Finding:
    """Judge the clean-up: what is left of the scratch objects, and does a lifecycle rule remove it?

    Args:
        left: Outcome of the clean-up.
        rules: Lifecycle rules of the bucket; None: they could not be asked for.
        folder: Full key that the keys of all scratch objects begin with.
        versioned: Whether the bucket may keep noncurrent versions.
    """
    data = {"deleted": left.deleted, "left": dict(left.versions)}
    if not left.versions and not left.fault:
        of = f" of {_versions(left.deleted)}" if left.deleted else ""
        known = "" if left.counted else ", as far as the storage tells: it lists no versions"
        return ok(Check.CLEAN_UP, f"nothing is left{of}{known}", **data)
    found = _remainder(left)
    by_hand = f"Delete what lies under {folder!r} with an operator's credentials"
    if isinstance(rules, Unknown) or rules is None:
        remedy = f"{by_hand}, unless a lifecycle rule does, which is not known; {TEMPLATES}."
        return unknown(Check.CLEAN_UP, found, remedy, **data)
    current = not left.hidden
    fates = [sweepers(rules, key, versioned=versioned, current=current) for key in left.versions]
    if not fates or not all(fates):
        remedy = f"{by_hand}: no lifecycle rule does; {TEMPLATES} with one."
        return warning(Check.CLEAN_UP, found, remedy, **data)
    names = ", ".join(sorted({repr(name) for fate in fates for name in fate}))
    return ok(Check.CLEAN_UP, f"{found}; lifecycle removes them (rules {names})", **data)


def _remainder(left: Left) -> str:
    what = ", ".join(f"{_versions(n)} of {key!r}" for key, n in left.versions.items())
    if left.fault:
        return f"{what or 'something'} may be left: {left.fault.partition('. ')[0]}"
    why = "they may not be deleted" if left.denied else "the storage still has them"
    return f"{what} left: {why}"


def _versions(number: int) -> str:
    return f"{number} version" if number == 1 else f"{number} versions"
