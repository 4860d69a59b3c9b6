"""A pytest plugin for PTB's own suite: `PersistentJobQueue` in the place of its `JobQueue`.

PTB's tests look up the module-global `JobQueue` when they run, and get others from
`ApplicationBuilder`. Their callbacks are bound methods, which no restart brings back: the queue
is made with `persistent=False`. It schedules with our scheduler all the same, for each application
gets an `S3Persistence`, if it has none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from telegram.ext import Application, _applicationbuilder

from ptb_s3 import PersistentJobQueue
from ptb_s3._jobs.scheduler import JobScheduler
from ptb_s3.testing import memory_persistence

_REPLACED = "JobQueue"
_App = Application[Any, Any, Any, Any, Any, Any]


class JobQueue(PersistentJobQueue):
    """`PersistentJobQueue` under PTB's name, which one of its tests looks for in the repr."""

    __slots__ = ()
    queues: ClassVar[int] = 0
    jobs_run: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__(persistent=False)

    def set_application(self, application: _App) -> None:
        if application.persistence is None:
            application.persistence = memory_persistence()
        super().set_application(application)
        assert isinstance(self.scheduler, JobScheduler)
        JobQueue.queues += 1

    @staticmethod
    async def job_callback(job_queue: Any, job: Any) -> None:
        JobQueue.jobs_run += 1
        await PersistentJobQueue.job_callback(job_queue, job)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--s3-report", type=Path, help="where to write what the queues did")


def pytest_collection_finish(session: pytest.Session) -> None:
    modules: list[Any] = [_applicationbuilder]
    modules += {item.getparent(pytest.Module).obj for item in session.items}  # type: ignore[union-attr]  # they are tests
    for module in modules:
        assert hasattr(module, _REPLACED), "PTB's suite has changed"
        setattr(module, _REPLACED, JobQueue)


def pytest_sessionfinish(session: pytest.Session) -> None:
    done = {"queues": JobQueue.queues, "jobs": JobQueue.jobs_run}
    session.config.getoption("--s3-report").write_text(json.dumps(done))
