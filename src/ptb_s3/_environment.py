"""Environment and files of variables: nothing else reads or writes ``os.environ``.

Two readers look at it: this package, for ``PTB_S3_*``, and the AWS chain, for ``AWS_*``. What a
file has for the latter is put into the environment; what compose files and CI pass on as empty is
taken out of it. No text shows a value.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from ptb_s3.errors import SettingsError

ENV_PREFIX: Final = "PTB_S3_"
ENV_FILE: Final = ".env"
# UTF-8, with or without the byte order mark that Windows editors put in front of it.
ENV_FILE_ENCODING: Final = "utf-8-sig"

AWS_PREFIX: Final = "AWS_"
# One identity: one of them from .env and another from the environment make none that works.
_CREDENTIALS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def read_file(env_file: str | Path | None) -> dict[str, str]:
    """Return the variables that a file sets.

    Args:
        env_file: File to read. The default one need not exist. None: there is none.

    Raises:
        SettingsError: The file is not there, or cannot be read.
    """
    if env_file is None:
        return {}
    if not Path(env_file).exists() or Path(env_file).is_dir():
        if str(env_file) == ENV_FILE:
            return {}
        raise SettingsError(f"{env_file}: there is no such file.")
    try:
        values = dotenv_values(env_file, encoding=ENV_FILE_ENCODING)
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text. Save it as UTF-8"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    else:
        return {name: value for name, value in values.items() if value is not None}
    # Out here, the new error has no context: the old one may quote the file.
    raise SettingsError(f"{env_file}: cannot be read: {reason}.")


def our_variables(in_file: Mapping[str, str]) -> dict[str, str]:
    """Return our variables, of the environment, which wins, and of a file.

    Args:
        in_file: Variables of the file.

    Returns:
        Values by name, without the prefix and in lower case, as the settings are named.
    """
    there = {**in_file, **os.environ}
    ours = [name for name in there if name.startswith(ENV_PREFIX)]
    return {name.removeprefix(ENV_PREFIX).lower(): there[name] for name in ours}


def refuse_unknown(in_file: Iterable[str], known: Collection[str]) -> None:
    """Refuse variables that begin as ours do and are none, in the environment or a file.

    Args:
        in_file: Names of the file's variables.
        known: Names of our variables.

    Raises:
        SettingsError: There are some. The text names the nearest of ours for each.
    """
    names = {*in_file, *os.environ}
    unknown = sorted(n for n in names if n.upper().startswith(ENV_PREFIX) and n not in known)
    if unknown:
        raise SettingsError(
            "\n".join(f"{name} is not a setting. {_suggestion(name, known)}" for name in unknown)
        )


def prepare_for_aws(in_file: Mapping[str, str]) -> None:
    """Put a file's ``AWS_*`` variables into the environment, and tidy up those that are there.

    Args:
        in_file: Variables of the file. Of the three that make up credentials, all are taken or, if
            the environment has one of them, none.
    """
    _tidy_aws()
    skipped = _CREDENTIALS if any(name in os.environ for name in _CREDENTIALS) else ()
    for name, value in in_file.items():
        if name.startswith(AWS_PREFIX) and value.strip() and name not in skipped:
            os.environ.setdefault(name, value.strip())
    if "AWS_REGION" in os.environ:  # which other SDKs read, and hosts set, but not botocore
        os.environ.setdefault("AWS_DEFAULT_REGION", os.environ["AWS_REGION"])


def aws_variables() -> dict[str, str]:
    """Return the variables of the AWS chain that are in the environment."""
    return {name: value for name, value in os.environ.items() if name.startswith(AWS_PREFIX)}


def overriding(in_file: Mapping[str, str]) -> list[str]:
    """Return the names of variables by which the environment wins over a file.

    Args:
        in_file: Variables of the file.

    Returns:
        Names of those that the environment has with another value. A session token in the
        environment is one of them wherever the file has none: it makes the AWS chain leave out the
        file's credentials.
    """
    names = dict.fromkeys([*in_file, *_CREDENTIALS])
    return [name for name in names if os.environ.get(name, "") not in {"", in_file.get(name, "")}]


def refuse_proxy(host: str) -> None:
    """Refuse a proxy that stands between this machine and a server on it.

    Args:
        host: Address that the server listens on.

    Raises:
        SettingsError: Requests to it would go to a proxy, which cannot reach it.
    """
    # Here, since it imports half of the standard library's network.
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - see above

    if "http" in getproxies() and not proxy_bypass(host):
        raise SettingsError(
            f"HTTP_PROXY is set, and would be asked for {host}, which is this machine. Add {host} "
            "to NO_PROXY, here and where the bot runs."
        )


@contextmanager
def without_variables() -> Iterator[None]:
    """Take our variables, and the AWS chain's, out of the environment for the body of a `with`."""
    ours = (ENV_PREFIX, AWS_PREFIX)
    kept = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith(ours)}
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith(ours)]:
            del os.environ[name]
        os.environ.update(kept)


def variable_of(setting: str) -> str:
    """Return the name of the variable that gives a setting."""
    return ENV_PREFIX + setting.upper()


def variable(name: str) -> str:
    """Return a variable of the environment that is no setting of ours.

    Empty: it is not set.
    """
    return os.environ.get(name, "").strip()


def required_variable(name: str) -> str:
    """Return a variable of the environment that is no setting of ours.

    Raises:
        SettingsError: It is not set, or blank.
    """
    value = variable(name)
    if not value:
        raise SettingsError(f"{name} is not set. Set it as the page of your host in docs/ says.")
    return value


def is_blank(value: object) -> bool:
    """Tell whether a value is text with nothing in it but white space."""
    return isinstance(value, str) and not value.strip()


def _suggestion(name: str, known: Collection[str]) -> str:
    # Compared without the prefixes: ours is in all of these names, and people put it before AWS's.
    ours = {candidate.removeprefix(ENV_PREFIX): candidate for candidate in sorted(known)}
    theirs = {candidate.removeprefix(AWS_PREFIX): candidate for candidate in _CREDENTIALS}
    stem = name.upper().removeprefix(ENV_PREFIX)
    near = difflib.get_close_matches(stem, [*ours, *theirs], n=1)
    if near:
        return f"Did you mean {(theirs | ours)[near[0]]}?"
    return f"There are: {', '.join(ours.values())}."


def _tidy_aws() -> None:
    """Drop empty variables of the AWS chain, and line ends of others, as of our own variables.

    An empty ``AWS_CA_BUNDLE`` or ``REQUESTS_CA_BUNDLE`` turns verification off in botocore, and an
    empty ``AWS_PROFILE`` is a profile that does not exist.
    """
    for name, value in [*os.environ.items()]:
        if name.startswith(AWS_PREFIX) or name == "REQUESTS_CA_BUNDLE":
            if is_blank(value):
                del os.environ[name]
            elif value != value.strip():
                os.environ[name] = value.strip()
