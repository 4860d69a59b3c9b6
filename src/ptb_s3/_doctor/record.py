"""Record of an examination: one finding for each check, and errors turned into findings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ptb_s3._doctor.findings import Check, Finding, broken, completed
from ptb_s3.errors import PersistenceError

_T = TypeVar("_T")


class Record:
    """Collection of findings, in which the first one of a check stays.

    Args:
        report: Called with the number of checks that are done, after each.
    """

    def __init__(self, report: Callable[[int], None]) -> None:
        self._findings: dict[Check, Finding] = {}
        self._report = report

    def add(self, finding: Finding) -> None:
        """Add a finding, unless its check has one."""
        self._findings.setdefault(finding.check, finding)
        self._report(len(self._findings))

    def get(self, check: Check) -> Finding | None:
        """Return the finding of a check, or None before there is one."""
        return self._findings.get(check)

    async def told(self, check: Check | None, answer: Awaitable[_T]) -> _T | None:
        """Return the result of a request, or None where it fails.

        Args:
            check: Check to which the error becomes a finding; None: to no check, since another
                request will show it.
            answer: The request.
        """
        try:
            return await answer
        except PersistenceError as error:
            if check is not None:
                self.add(broken(check, error))
            return None

    def completed(self) -> tuple[Finding, ...]:
        """Return a finding for every check, in their order."""
        return completed(self._findings)
