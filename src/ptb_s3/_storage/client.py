"""Setup of S3 clients: the importer of aiobotocore, which it imports when it is first needed.

A client is made of a session, where credentials and settings of AWS come from, and of a
configuration, which is ours. What happens to it then is the business of `link` and `retries`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from ptb_s3._storage.answers import NotSentError, Question, to_failure

Untyped: TypeAlias = Any
"""Anything that aioboto3 and aiobotocore hand out: they ship no types."""

_POOL = 32
"""Connections. A cold start reads seven objects at once; `doctor` lets 32 writers race."""


def preload() -> None:
    """Import aiobotocore ahead of the first client, and read the models: a start has the CPU.

    Opens nothing, and looks for no credentials: a snapshot of the process may be taken afterwards.
    """
    from ptb_s3._storage.models import read_ahead  # noqa: PLC0415 - imports botocore

    read_ahead(_new_session().get_component("data_loader"), "s3")


def prepared(
    session: Untyped, options: dict[str, Any], *, signed: bool, service: str = "s3"
) -> tuple[Untyped, Untyped]:
    """Import aiobotocore, make a session and read the service model: slow work, for a thread.

    Args:
        session: An `aioboto3.Session` to use; None makes one.
        options: Arguments of botocore's `Config`, as `options` returns them.
        signed: Whether requests are signed, rather than anonymous.
        service: Name of the service that is to be asked.

    Returns:
        The session, and the configuration for its clients.
    """
    from botocore import UNSIGNED  # noqa: PLC0415 - takes longer to import than all else together

    from ptb_s3._storage.models import read_ahead  # noqa: PLC0415 - as above
    from ptb_s3._storage.resolver import Resolver  # noqa: PLC0415 - it imports aiohttp
    from ptb_s3._storage.session import OwnSession  # noqa: PLC0415 - not before there is one
    from ptb_s3._storage.transport import Config  # noqa: PLC0415 - as above

    if session is None:
        core = _new_session()
        read_ahead(core.get_component("data_loader"), service)
        session = OwnSession(core)
    else:
        _take_empty_for_unset(session._session)  # noqa: SLF001 - aioboto3 has no public way to it
    names = {"resolver": Resolver()}
    if not signed:
        return session, Config(names, **options, signature_version=UNSIGNED)
    # Said, so that it goes for signed addresses, too: botocore's default for those is version 2.
    versions = {"signature_version": "s3v4"} if service == "s3" else {}
    return session, Config(names, **options, **versions)


def _new_session() -> Untyped:
    """Return a session of aiobotocore's that shares its models with all others of the process."""
    from aiobotocore.session import get_session  # noqa: PLC0415 - not before the first call

    from ptb_s3._storage.models import models  # noqa: PLC0415 - as above
    from ptb_s3._storage.transport import Config  # noqa: PLC0415 - as above

    core = get_session()
    _take_empty_for_unset(core)  # first: all else looks at the profile
    core.set_default_client_config(Config())
    search_path = core.get_component("data_loader").search_paths
    core.register_component("data_loader", models(*search_path))
    return core


def _take_empty_for_unset(core: Untyped) -> None:
    """Have a session ignore empty settings and line ends, such as compose files pass on."""
    from botocore.configprovider import (  # noqa: PLC0415 - not before the first call
        BOTOCORE_DEFAUT_SESSION_VARIABLES as VARIABLES,
    )

    store = core.get_component("config_store")
    for name, (_, _, unset, _) in VARIABLES.items():  # the profile first: it says where to look
        with suppress(ValueError):  # a number that is none, which is told where it is needed
            value = store.get_config_variable(name)
            if isinstance(value, str) and value != value.strip():
                store.set_config_variable(name, value.strip())
            if isinstance(value, str) and not value.strip():
                store.set_config_variable(name, unset)


def options(attempts: int, timeouts: dict[str, float], style: str) -> dict[str, Any]:
    """Return the arguments of botocore's `Config`.

    Args:
        attempts: Number of attempts at a request, at most.
        timeouts: ``connect_timeout`` and ``read_timeout``, in seconds.
        style: Addressing style; ``auto``: as the AWS configuration says, else the path style
            (virtual hosts for AWS itself).
    """
    s3: dict[str, Any] = {"payload_signing_enabled": False}
    if style != "auto":
        s3["addressing_style"] = style
    return {
        **timeouts,
        "retries": {"mode": "standard", "total_max_attempts": attempts},
        "max_pool_connections": _POOL,
        # Content-MD5 guards the way there, authenticated encryption all of it. botocore's own
        # checksums would be computed on the loop, and not every server knows them.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": s3,
    }


def endpoint_of(variables: Mapping[str, str]) -> str | None:
    """Return the endpoint that a file's ``AWS_*`` variables name, or None."""
    return variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")


def session_of(variables: Mapping[str, str], bucket: str) -> Untyped:
    """Return a session with the credentials of a file's ``AWS_*`` variables.

    Args:
        variables: The variables.
        bucket: Name of the bucket that the session is for, for an error's text.

    Raises:
        PersistenceError: They name a profile that does not exist.
    """
    import aioboto3  # noqa: PLC0415 - takes longer to import than telegram.ext
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above

    try:
        return aioboto3.Session(
            aws_access_key_id=variables.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=variables.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=variables.get("AWS_SESSION_TOKEN"),
            region_name=variables.get("AWS_DEFAULT_REGION"),
            profile_name=variables.get("AWS_PROFILE"),
        )
    except BotoCoreError as exc:
        failure = to_failure(Question("look at", bucket, ""), NotSentError(exc), "")
        raise (failure or exc) from None
