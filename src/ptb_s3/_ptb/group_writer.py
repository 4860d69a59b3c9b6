"""Stage and commit one group of PTB's calls, without holding the event loop for long.

Ten thousand values take a tenth of a second to serialise, and as many calls as long to resume. Both
are cut into slices, between which other tasks of the loop run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import EntityKey, Kind, counted
from ptb_s3._ptb.background_compaction import BackgroundCompaction
from ptb_s3._ptb.change_capture import ChangeCapture
from ptb_s3._ptb.commit_group import CommitGroup
from ptb_s3._ptb.commit_report import CommitReport
from ptb_s3._ptb.shutdown_deadline import ShutdownDeadline
from ptb_s3._ptb.stall_meter import StallMeter
from ptb_s3.errors import (
    ConflictError,
    HeadTooLargeError,
    OvertakenError,
    StorageUnavailableError,
)

# Seconds for which the event loop is held at a time while values are serialised.
SLICE = 0.002
# Calls that are resumed in one iteration of the loop; each takes some 10 us.
AT_ONCE = 250
# Iterations of the loop to yield between two slices. A task that waits for a timer or a socket
# takes three: one to see that it is ready, one to set the future, one to resume the task.
TURNS = 3


class GroupWriter:
    """Writer of groups: stages what their calls have handed over, commits it, resumes the calls.

    Whatever fails, each submission of a group ends up staged or among the faults, and each call
    that waits is resumed.

    Args:
        repository: Repository that is written to.
        capture: Serialises and stages values.
        shutdown: Bounds a commit while the bot is being stopped.
        compaction: Started after a commit.
        report: Takes the faults.
        waiting: Returns the keys of entities that are not known to be durable, by kind.
        stalls: Measures for how long a group holds the event loop in one go.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        capture: ChangeCapture,
        shutdown: ShutdownDeadline,
        compaction: BackgroundCompaction,
        report: CommitReport,
        waiting: Callable[[], dict[Kind, set[EntityKey]]],
        stalls: StallMeter,
    ) -> None:
        self._repository = repository
        self._capture = capture
        self._shutdown = shutdown
        self._compaction = compaction
        self._report = report
        self._waiting = waiting
        self._stalls = stalls

    async def write(self, group: CommitGroup, close: Callable[[CommitGroup], None]) -> None:
        """Stage and commit a group, and resume its calls, which raise what went wrong.

        Args:
            group: Group to write. Calls may join it until all of its submissions are staged.
            close: Called then: later calls are for the next group.
        """
        await self._stalls.metered(self._write(group, close))

    async def _write(self, group: CommitGroup, close: Callable[[CommitGroup], None]) -> None:
        committed = False
        try:
            await self._stage_all(group, close)
            if self._repository.dirty:
                await self._commit()
                committed = True
        except BaseException as failure:  # noqa: BLE001 - raised by the group's calls
            group.failure = self._explained(failure)
        finally:
            left_out = self._repository.take_faults()
            self._report.tell(left_out)
            self._report.unheard = group.share_out([*self._report.unheard, *left_out])
            await self._release(group)
        # Calls are resumed first: a blob's thread would hold them up. A head that is too large gets
        # small by nothing else.
        if committed or isinstance(group.failure, HeadTooLargeError):
            self._compaction.start()

    async def _commit(self) -> None:
        """Commit what is staged, and note how fast that was."""
        clock, counters = asyncio.get_running_loop().time, self._repository.counters
        begun, sent = clock(), counters.bytes_sent
        async with self._shutdown.bound():
            await self._repository.commit()
        self._compaction.pace.note_commit(counters.bytes_sent - sent, clock() - begun)

    def salvage(self, group: CommitGroup) -> None:
        """Stage the submissions of a group whose commit will not happen, and resume its calls."""
        group.failure = group.failure or given_up()
        self.stage_rest(group)
        self._report.unheard = group.share_out(self._report.unheard)
        if group.is_here:
            group.release()

    def stage_rest(self, group: CommitGroup) -> None:
        """Stage what is left of a group's submissions, however long that holds the loop."""
        while group.submissions:
            self._stage_next(group)

    async def _stage_all(self, group: CommitGroup, close: Callable[[CommitGroup], None]) -> None:
        """Serialise what was handed over, in slices between which the loop does other work."""
        clock = asyncio.get_running_loop().time
        try:
            await _give_way()  # PTB's copies, and the start of its calls, have held the loop enough
            begun = clock()
            while group.submissions:
                self._stage_next(group)
                if clock() - begun > SLICE:
                    await _give_way()
                    begun = clock()
        finally:
            close(group)
            self.stage_rest(group)  # cut short: what was handed over is kept all the same

    def _stage_next(self, group: CommitGroup) -> None:
        """Stage the oldest submission of a group."""
        submission = group.submissions.popleft()
        known = len(submission.faults)
        self._capture.stage(submission)
        self._report.tell(submission.faults[known:])
        if submission.faults and not known:  # the parts of one call share their list
            group.faulty.append(submission.faults)

    def _explained(self, failure: BaseException) -> BaseException | None:
        """Return the error that the calls of a group raise, or None.

        * An update that was overtaken is processed again by whoever asked for the transaction.
        * PTB drops a `CancelledError` without a word; its error handlers should hear of this one.
        """
        if isinstance(failure, OvertakenError):
            self._report.overtaken = failure
            return None
        if isinstance(failure, ConflictError) and failure.kind is not None:
            self._report.tell([failure])  # one without a kind is raised by the next commit again
        if isinstance(failure, TimeoutError):
            return StorageUnavailableError(
                "The storage did not take it within the time that a stop of the bot may take "
                "(flush_timeout)."
            ).while_saving(counted(self._waiting()))
        return given_up() if isinstance(failure, asyncio.CancelledError) else failure

    async def _release(self, group: CommitGroup) -> None:
        """Resume all calls of a group, a slice of them in each iteration of the loop."""
        if group.is_over:
            return
        try:
            while len(group) > AT_ONCE:
                group.release(AT_ONCE)
                await _give_way()
        finally:
            group.release()


def given_up() -> StorageUnavailableError:
    """Return the error of a save that was cancelled, as by a framework that ends all tasks."""
    return StorageUnavailableError(
        "The save was given up when the bot was stopped. What changed is kept in memory."
    )


async def _give_way() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)
