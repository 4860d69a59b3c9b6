"""Carry out one call that runs what is due: run it, save what it changed, and give up in time."""

from __future__ import annotations

import asyncio
import math

from ptb_s3._ptb.application_state import App, tasks
from ptb_s3._ptb.due_runs import DueRuns
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.host import save_participants
from ptb_s3._ptb.time_limit import TimeLimit
from ptb_s3.errors import PersistenceError


async def carry_out(
    application: App, commits: GroupCommit, runs: DueRuns, limit: TimeLimit
) -> None:
    """Run what is due, and commit all that it has changed.

    Args:
        application: Application that was prepared.
        commits: Group commit of its persistence.
        runs: What is due.
        limit: Time limit of the call.

    Raises:
        SerializationError: A value cannot be saved. Everything else is.
        PersistenceError: A claim, or what was changed, could not be committed.
    """
    faults: list[PersistenceError] = []
    left = limit.left()
    limit.allow(math.inf)
    before = tasks(application)
    commits.report.faults = faults
    try:
        await runs.run(limit.left() / 2)
        while spawned := tasks(application) - before:
            await asyncio.wait(spawned)
        limit.allow(left)
        await application.update_persistence()
        await save_participants(commits)
        await commits.commit()
    except asyncio.CancelledError:
        await commits.give_up()  # one that hangs would hold up the next call
        raise
    finally:
        commits.report.faults = None
    await limit.settle(commits.compaction)
    if faults:
        raise faults[0]
