"""Judgement of settings: clock, region, owner, versioning, public access, lifecycle. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from ptb_s3._doctor.findings import TEMPLATES, Check, Finding, failed, ok, unknown, warning
from ptb_s3._keys.ring import Ring
from ptb_s3._storage.bucket_config import PublicAccess, Unknown, Versioning
from ptb_s3._storage.lifecycle import UNREADABLE, Rule

_MAX_SKEW = timedelta(minutes=15)
"""S3 refuses a request whose time is further off (S3 API Reference: RequestTimeTooSkewed)."""
_NOTICEABLE_SKEW = timedelta(minutes=1)
"""Difference of clocks above which to warn (our choice)."""


_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)*-[a-z0-9]+")
"""Form of a region's name, at AWS and most others: us-east-1, us-west-004, fr-par.

What storages say in place of one (Ceph: ``default``; R2: ``WEUR``, a location) is not to be signed
for.
"""


def settings(name: str, keys: Ring, exposed: Sequence[tuple[str, str]]) -> Finding:
    """Judge the settings, which are complete: say what the keys are for, and who may read them.

    Args:
        name: Name of the place.
        keys: The keys.
        exposed: Key files that other users may read: for each, what is wrong and what to do.
    """
    sealing, *retired = keys.ids or ("of an alias that KMS has not told",)
    opens = f", and opens what was sealed with {', '.join(retired)}" if retired else ""
    older = ", ".join(keys.history_ids)
    opens += f"; opens older versions with {older}" if older else ""
    found = f"{name}; seals with key {sealing}{opens}"
    if not exposed:
        return ok(Check.SETTINGS, found)
    faults, remedies = zip(*exposed, strict=True)
    return warning(Check.SETTINGS, "; ".join([found, *faults]), ". ".join(remedies))


def clock(date: str, began: datetime, ended: datetime) -> Finding:
    """Judge the difference between the storage's clock and this machine's.

    Args:
        date: Time by the storage's clock, as HTTP writes it.
        began: Time when the request was sent, by this machine's clock.
        ended: Time when the answer had arrived, by this machine's clock.
    """
    skew = _skew(date, began, ended)
    if skew is None:
        remedy = "Make sure that this machine's clock is set (NTP)."
        return unknown(Check.CLOCK, "the storage does not say what time it is", remedy)
    seconds, direction = skew.total_seconds(), "ahead of" if skew > timedelta() else "behind"
    size = timedelta(seconds=abs(round(seconds)))
    if size <= _NOTICEABLE_SKEW:
        return ok(Check.CLOCK, "this machine's and the storage's agree", skew_seconds=seconds)
    found = f"the storage's is {size} {direction} this machine's"
    remedy = "Set this machine's clock (NTP): S3 refuses requests that are 15 minutes off."
    judge = warning if size <= _MAX_SKEW else failed
    return judge(Check.CLOCK, found, remedy, skew_seconds=seconds)


def _skew(date: str, began: datetime, ended: datetime) -> timedelta | None:
    """Return how far the storage's clock is ahead at least, or None if it does not say."""
    try:
        theirs = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return None
    if theirs.tzinfo is None:
        return None
    # HTTP leaves out the fraction of the second.
    if began - timedelta(seconds=1) <= theirs <= ended:
        return timedelta()
    return theirs - ended if theirs > ended else theirs - began


def region(ours: str, actual: str | Unknown) -> Finding:
    """Judge the region that requests are signed for, against the bucket's."""
    if isinstance(actual, Unknown) or not _REGION.fullmatch(actual):
        return ok(Check.REGION, f"requests are signed for {ours}, which is accepted", region=ours)
    if ours == actual:
        return ok(Check.REGION, actual, region=actual)
    return warning(
        Check.REGION,
        f"the bucket is in {actual}, and requests are signed for {ours}",
        f"Set PTB_S3_REGION={actual}: finding it costs a detour at each start.",
        region=actual,
    )


def owner(expected: str | None, *, accepted: bool, minds: bool, on_aws: bool = False) -> Finding:
    """Judge the owner of the bucket, and whether the storage checks it.

    Args:
        expected: Id of the account that must own it, or None.
        accepted: Whether requests with that id are let in, as those without one are.
        minds: Whether the storage refuses requests with the id of another account.
        on_aws: Whether the storage is AWS.
    """
    if not expected and minds:
        whose = "your AWS account" if on_aws else "the account that owns the bucket"
        return warning(
            Check.OWNER,
            "not checked with each request",
            f"Set PTB_S3_EXPECTED_BUCKET_OWNER to the id of {whose}: else, were the bucket "
            "deleted, somebody else could take its name and be sent the state.",
        )
    if not expected:
        return ok(Check.OWNER, "not checked: this storage does not")
    if not accepted:
        return failed(
            Check.OWNER,
            f"the bucket does not belong to account {expected}",
            "Mend PTB_S3_EXPECTED_BUCKET_OWNER, or PTB_S3_BUCKET if that is somebody else's.",
        )
    if not minds:
        return ok(Check.OWNER, f"account {expected} is asked for; this storage does not mind")
    return ok(Check.OWNER, f"account {expected}, checked with each request")


def versioning(said: Versioning | Unknown, *, shown: bool | None, older: bool = False) -> Finding:
    """Judge versioning: will there be a history?

    Args:
        said: Setting of the bucket.
        shown: Whether a write was given a version id; None where nothing was written.
        older: Whether head is older than a suspension of versioning, so that it is not proven that
            it can be replaced.
    """
    state = said if isinstance(said, Versioning) else None
    if state is None and shown is not None:
        state = Versioning.ENABLED if shown else Versioning.NEVER
    if state is None:
        remedy = "Give the credentials GetBucketVersioning, or mend what keeps them from writing."
        return unknown(Check.VERSIONING, f"not known: {said}", remedy)
    if state is Versioning.ENABLED:
        how = "enabled" if state is said else "a write was given a version id"
        return ok(Check.VERSIONING, how, versioning=state)
    found, remedy = f"{state}: there is no history to go back to", "Enable versioning of the bucket"
    if older:
        found += ", and head is from before that"
        remedy += ": some storages (SeaweedFS) take no commit on top of such a head"
    return warning(Check.VERSIONING, found, f"{remedy}; {TEMPLATES}.", versioning=state)


def public_access(said: PublicAccess | None, tried: Mapping[str, bool | None]) -> Finding:
    """Judge public access: is anybody let in without permission?

    Args:
        said: Settings of the bucket; None: they could not be asked for.
        tried: Whether each kind of access was granted without credentials; None: not known.
    """
    data = {"without_credentials": dict(tried)}
    block_it = f"Turn on all four settings of Block Public Access; {TEMPLATES}."
    granted = [what for what, granted in tried.items() if granted]
    if granted:
        found = f"anybody may {', '.join(granted)}, without any credentials"
        remedy = "Close the bucket: its policy, its access control list, and the server's settings."
        return failed(Check.PUBLIC_ACCESS, found, remedy, **data)
    if said is not None:
        if said.public_policy is True or said.public_acl is True:
            what = "policy" if said.public_policy is True else "access control list"
            found = f"the bucket's {what} lets in people without permission"
            return warning(Check.PUBLIC_ACCESS, found, block_it, **data)
        if said.unblocked == ():
            return ok(Check.PUBLIC_ACCESS, "blocked", **data)
        if not isinstance(said.unblocked, Unknown):
            found = f"none, but it is not ruled out: {', '.join(said.unblocked)} off"
            return warning(Check.PUBLIC_ACCESS, found, block_it, **data)
    refused = [what for what, granted in tried.items() if granted is False]
    if refused:
        found = f"refused without credentials: {', '.join(refused)}"
        return ok(Check.PUBLIC_ACCESS, found, **data)
    remedy = "Look into the bucket's settings whether anybody is let in without credentials."
    return unknown(Check.PUBLIC_ACCESS, "not known", remedy, **data)


def lifecycle(rules: Sequence[Rule] | Unknown, keys: Sequence[str], *, history: bool) -> Finding:
    """Judge the lifecycle rules: do they spare the state, and prune its history?

    The first of these that applies is the finding, from the worst to the best::

        a rule may remove the current state, or archive it   failed: a bot that is idle loses it
        nothing removes noncurrent versions                  warning: the history grows for ever
        a rule moves state or history to another class       warning: dearer, or unreadable
        otherwise                                            ok

    A rule with conditions on size or tags counts as harmful if it *may* take an object, and as
    useful only if it surely takes all of them.

    Args:
        rules: Rules of the bucket.
        keys: Full keys of the state's objects.
        history: Whether the bucket keeps noncurrent versions.
    """
    if isinstance(rules, Unknown):
        remedy = (
            "Ask whoever set up the bucket whether a rule removes what was replaced, and nothing "
            f"else; {TEMPLATES}."
        )
        return unknown(Check.LIFECYCLE, f"not known: {rules}", remedy)
    data = {"rules": [rule._asdict() for rule in rules]}
    ours = [rule for rule in rules if any(map(rule.may_take, keys))]
    harmful = [_harm(rule) for rule in ours if rule.expires or UNREADABLE & {*rule.moves_to}]
    if harmful:
        remedy = (
            "Disable it, or leave the prefix out of it: a bot that is not busy loses its state."
        )
        return failed(Check.LIFECYCLE, "; ".join(harmful), remedy, **data)
    keeping = [rule for rule in rules if all(map(rule.surely_takes, keys))]
    thinning = [rule for rule in keeping if rule.noncurrent_days is not None]
    if history and not thinning:
        found = "no rule removes what was replaced: the history grows for ever"
        remedy = f"Add a rule that expires noncurrent versions after some days; {TEMPLATES}."
        return warning(Check.LIFECYCLE, found, remedy, **data)
    moving = [rule for rule in ours if rule.moves_to or UNREADABLE & {*rule.noncurrent_moves_to}]
    if moving:
        found = "; ".join(map(_move, moving))
        remedy = (
            "Leave the prefix out of such rules: what was moved costs more, or is not readable."
        )
        return warning(Check.LIFECYCLE, found, remedy, **data)
    found = "; ".join(map(_retention, thinning)) if history else "there is no history to remove"
    return ok(Check.LIFECYCLE, found, **data)


def _harm(rule: Rule) -> str:
    if rule.expires:
        return f"rule {rule.id!r} removes the current state when it has not changed for a while"
    return f"rule {rule.id!r} moves the current state where it cannot be read"


def _move(rule: Rule) -> str:
    if rule.moves_to:
        return f"rule {rule.id!r} moves the current state to {', '.join(rule.moves_to)}"
    return f"rule {rule.id!r} moves the history to {', '.join(rule.noncurrent_moves_to)}"


def _retention(rule: Rule) -> str:
    newest = f", but for the newest {rule.newest_kept}" if rule.newest_kept else ""
    days = "day" if rule.noncurrent_days == 1 else "days"
    return f"rule {rule.id!r} removes what was replaced {rule.noncurrent_days} {days} ago{newest}"
