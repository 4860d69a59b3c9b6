"""Pace: how long this host takes to write a blob, by what it has been seen to do."""

from __future__ import annotations

import math

# Bytes a second, packed and not compressed, that a host is trusted to compress, encrypt and upload
# before it was seen at work. Low on purpose: a blob that is begun and not finished has only cost
# time.
UNSEEN = 2 * 1024 * 1024
# Bytes a second that a slow core compresses, encrypts and opens again, however fast the line. A
# core of a server does three times as much.
SEALING = 16 * 1024 * 1024
# Bytes of one commit from which on its time tells of the line, rather than of round trips.
TELLING = 64 * 1024
# Bytes that are packed for one that is sent, between those of what does not compress (1) and of
# realistic values (4).
_RATIO = 2


class Pace:
    """Estimate of the time that a blob takes, learned from commits and from blobs.

    What a blob took counts for more than what commits took, which tell of the line alone.
    """

    def __init__(self) -> None:
        self._by_commits = float(UNSEEN)
        self._by_blobs: float | None = None

    def seconds(self, size: int) -> float:
        """Return the seconds that a blob is estimated to take.

        Args:
            size: Bytes that are packed for it.
        """
        return size / (self._by_blobs or self._by_commits)

    def note_commit(self, sent: int, seconds: float) -> None:
        """Note a commit that was taken.

        Args:
            sent: Bytes that were sent for it.
            seconds: Seconds that it took, round trips included.
        """
        if sent >= TELLING:
            line = sent * _RATIO / seconds if seconds > 0 else math.inf
            self._by_commits = min(line, SEALING)

    def note_blob(self, size: int, seconds: float) -> None:
        """Note a blob that was written.

        Args:
            size: Bytes that were packed for it.
            seconds: Seconds that it took.
        """
        if size >= TELLING:
            self._by_blobs = size / seconds if seconds > 0 else math.inf

    def note_broken_off(self, size: int, seconds: float) -> None:
        """Note a blob that was not finished, so that it is not begun for as little time again.

        Args:
            size: Bytes that are packed for it.
            seconds: Seconds after which it was broken off.
        """
        if size:
            # Twice as long: how much was left then is not known.
            self._by_blobs = size / max(2 * seconds, 1.0)

    def forget_blobs(self) -> None:
        """Go by commits again, so that what was broken off once is tried again."""
        self._by_blobs = None
