"""Starts import no more than they need, and read botocore's models once and as botocore does."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from tests.support import KEY

from ptb_s3._storage import client, models
from ptb_s3._storage.client import options, prepared
from ptb_s3._storage.transport import Transport

PROJECT = Path(__file__).parents[2]
ENVIRONMENT = {
    "PTB_S3_BUCKET": "b",
    "PTB_S3_KEY": KEY.reveal(),
    "TELEGRAM_BOT_TOKEN": "1:x",
    "TELEGRAM_SECRET_TOKEN": "x",
}


def printed(code: str) -> list[str]:
    """Return what a fresh interpreter prints in which the example of a project can be imported."""
    path = os.pathsep.join(map(str, [PROJECT / "src", PROJECT / "infra" / "example"]))
    others = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "PTB_S3_"))}
    ran = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**others, **ENVIRONMENT, "PYTHONPATH": path},
    )
    return ran.stdout.splitlines()


def test_a_host_on_lambda_imports_nothing_that_it_does_not_need() -> None:
    """Each of these took a tenth of a start, or would: no handler of ours asks for them.

    What it does need is there before the first update, of S3's client as well.
    """
    unwanted = ("pydantic", "boto3", "aioboto3", "s3transfer", "typer", "ptb_s3.hosts.webhook")
    needed = ("aiobotocore.session", "aiohttp", "ptb_s3._storage.transport", "ptb_s3.settings")
    code = (
        "import sys, telegram.ext; theirs = set(sys.modules); import handler\n"
        f"print(*[name for name in {unwanted} if name in sys.modules and name not in theirs])\n"
        f"print(*[name for name in {needed} if name not in sys.modules])"
    )
    assert printed(code) == ["", ""]


def test_the_collector_is_paused_for_the_start_alone() -> None:
    """Off while modules come, it is on for updates, which do not walk through what stays."""
    code = (
        "import gc; from ptb_s3.hosts import aws_lambda; import shop.bot as bot\n"
        "build = bot.build; bot.build = lambda: print(gc.isenabled()) or build()\n"
        "import handler; print(gc.isenabled(), gc.get_freeze_count() > 50_000)"
    )
    assert printed(code) == ["False", "True True"]


def test_models_are_those_that_botocore_reads() -> None:
    """Of the services that ours asks, and of what gives credentials, in the newest version."""
    theirs = Loader()
    ours = models.models(*theirs.search_paths)
    for service in ("s3", "kms", "sts", "sso", "sso-oidc"):
        for model in ("service-2", "endpoint-rule-set-1", "paginators-1"):
            assert ours.load_service_model(service, model) == theirs.load_service_model(
                service, model
            )
    for data in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        assert ours.load_data(data) == theirs.load_data(data)


async def test_certificates_are_read_once_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the check of the settings and for all connections by no proxy."""
    read: list[object] = []
    load = ssl.SSLContext.load_verify_locations

    def noted(context: ssl.SSLContext, *where: Any) -> None:
        read.append(where)
        load(context, *where)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", noted)
    transport = Transport()
    direct = transport._create_connector(None)._ssl
    assert len(read) == 1
    assert direct is transport._create_connector(None)._ssl
    assert isinstance(direct, ssl.SSLContext)
    assert (direct.verify_mode, direct.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_models_are_read_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """By `preload`, where a host calls it, and by no session after that."""
    read: list[str] = []
    load_file = models._JsonFiles.load_file

    def noted(files: models._JsonFiles, path: str) -> object:
        found = load_file(files, path)
        if found is not None:
            read.append(Path(path).name)
        return found

    monkeypatch.setattr(models._JsonFiles, "load_file", noted)
    models.models.cache_clear()
    client.preload()
    assert {"service-2", "endpoint-rule-set-1", "endpoints"} <= set(read)
    first = read.copy()
    for _ in range(2):
        prepared(None, options(1, {}, "auto"), signed=True)
    assert read == first
    assert len(read) == len(set(read))
