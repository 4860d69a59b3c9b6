"""Merge of one job that two writers have changed. Pure.

Members of a job merge one by one, as those of any dictionary. Runs and claims do not: of two that
claim the same run, the first one has it, and what has run is not run again.

===================  ==========================  =====================================
ours                 theirs                      result
===================  ==========================  =====================================
claimed              claimed                     theirs: they were first
claimed, or run      removed                     removed: it was cancelled, or has run there
claimed              changed                     theirs, with our claim
removed              anything                    removed: to cancel a job wins
asked for anew       removed                     ours: what they removed was the old one
made, fixed          made, fixed                 theirs: two instances began at once
run                  claimed (ours had lapsed)   our next run, with their claim
changed              changed                     member by member, ours wins what is left
===================  ==========================  =====================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from ptb_s3._values.merge import OwnMerge

Members: TypeAlias = Mapping[str, Any]


def merge_jobs(base: Members | None, ours: Members | None, theirs: Members | None) -> OwnMerge:
    """Merge a job as both sides have changed it.

    Args:
        base: Members that both started from; None here and below: there is no such job.
        ours: Members here.
        theirs: Members that another writer has committed.
    """
    if ours is None:
        return OwnMerge(None)
    if theirs is None:
        return OwnMerge(ours if base is None or _is_new(base, ours) else None)
    if base is None and ours.get("fixed") is not None and ours["fixed"] == theirs.get("fixed"):
        return OwnMerge(theirs)
    base = base or {}
    if _only_claimed(base, ours) and _differs("next", base, theirs):
        return OwnMerge(theirs)  # it has run there, or was rescheduled
    merged = {name: _member(name, base, ours, theirs) for name in ours}
    if _differs("claim", base, theirs) and theirs.get("claim") is not None:
        merged["claim"] = theirs["claim"]
    lost = [name for name in ours if _differs(name, base, theirs) and merged[name] != theirs[name]]
    return OwnMerge(merged, len([name for name in lost if name != "claim"]))


def _member(name: str, base: Members, ours: Members, theirs: Members) -> object:
    return ours[name] if _differs(name, base, ours) else theirs.get(name, ours[name])


def _differs(name: str, base: Members, other: Members) -> bool:
    """Tell whether one side has changed a member."""
    return name in other and (name not in base or other[name] != base[name])


def _is_new(base: Members, ours: Members) -> bool:
    """Tell whether a job was given another trigger, or a timeout another update to begin it."""
    return any(_differs(name, base, ours) for name in ("trigger", "update"))


def _only_claimed(base: Members, ours: Members) -> bool:
    """Tell whether all that changed here is a claim that was taken."""
    changed = [name for name in ours if _differs(name, base, ours)]
    return changed == ["claim"] and ours["claim"] is not None
