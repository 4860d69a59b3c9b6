"""Checks of endpoint and prefix, which say where objects lie. Pure.

Refused is what cannot be right, since a wrong place is not an error later: the bot would find no
state there and begin an empty one.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit, urlunsplit

from ptb_s3.errors import SettingsError

OURS = "PTB_S3_ENDPOINT_URL"
THEIRS = "AWS_ENDPOINT_URL_S3 (or the endpoint_url of the AWS configuration)"

_API_PATHS = frozenset({"/storage/v1/s3"})
"""Paths of an S3 API that hold a word which a bucket may be named (Supabase's)."""
_API_NAMES = ("s3", "oss", "cos", "obs", "tos")
"""What the host of an S3 API begins with, alone or before a hyphen."""
_PROVIDERS = (
    ".digitaloceanspaces.com",
    ".googleapis.com",
    ".linodeobjects.com",
    ".r2.cloudflarestorage.com",
    ".storage.dev",
    ".storage.tigris.dev",
    ".vultrobjects.com",
    ".your-objectstorage.com",
)
"""What the hosts of other providers' APIs end in, after a region, an account or a word."""

MAX_NAME_BYTES = 1024
"""Bytes of a whole object name, in UTF-8 (Amazon S3 User Guide, "Naming Amazon S3 objects")."""
MAX_OBJECT_BYTES = 64
"""Bytes after the prefix: kinds take 13, and the doctor's scratch objects some 40."""
MAX_PREFIX_BYTES = MAX_NAME_BYTES - MAX_OBJECT_BYTES
"""Bytes of a prefix, in UTF-8."""
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters of categories Cc and Cs. A half of a surrogate pair has no UTF-8."""

_ANOTHER_NAME = (
    "Some servers list such objects under another name than they keep them by, and history, prune "
    "and forget would not see them."
)
_PREFIX_FAULTS = (
    (UNPRINTABLE, "holds a character that cannot be seen. Leave it out."),
    (
        re.compile(r"^/"),
        "begins with a slash: everything would lie in a folder without a name. Leave it out.",
    ),
    (re.compile(r"//"), f"holds two slashes in a row. {_ANOTHER_NAME} Give one."),
    (re.compile(r"\\"), f"holds a backslash. {_ANOTHER_NAME} Part folders with '/'."),
    (
        re.compile(r"(^|/)\.\.?(/|$)"),
        f"has a part '.' or '..', which means no folder here. {_ANOTHER_NAME} Leave it out.",
    ),
)


def prefix_fault(prefix: str) -> str | None:
    """Return the fault of a prefix as the end of a sentence, or None."""
    for pattern, fault in _PREFIX_FAULTS:
        if pattern.search(prefix):
            return fault
    size = len(prefix.encode())
    if size > MAX_PREFIX_BYTES:
        return (
            f"takes {size} bytes, and {MAX_PREFIX_BYTES} fit: names of objects have at most "
            f"{MAX_NAME_BYTES}. Give a shorter one."
        )
    return None


def check_prefix(prefix: str) -> None:
    """Refuse a prefix that is given in code.

    Raises:
        SettingsError: Objects under it would not be found again everywhere.
    """
    fault = prefix_fault(prefix)
    if fault is not None:
        raise SettingsError(f"prefix= {fault}")


def check_endpoint(endpoint_url: str | None, bucket: str = "", variable: str = OURS) -> None:
    """Refuse an endpoint that is no address, or that holds a password or the bucket.

    A password would end up in logs; with the bucket, everything would lie in a folder of its name.

    Args:
        endpoint_url: The address; None is AWS.
        bucket: Name of the bucket.
        variable: Where the address comes from, for the error's text.

    Raises:
        SettingsError: It cannot be right.
    """
    if endpoint_url is None:
        return
    parts = urlsplit(endpoint_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise SettingsError(
            "The endpoint must be the address of an S3 API, such as https://s3.example.com, "
            f"without a user name or password. Mend {variable}."
        )
    right = without_bucket(endpoint_url, bucket)
    if right is not None:
        raise bucket_in_it(bucket, right, variable)


def bucket_in_it(bucket: str, right: str, variable: str = OURS) -> SettingsError:
    """Return the error for an address with the bucket in it, which spells out the right one."""
    return SettingsError(
        f"The endpoint has the bucket {bucket!r} in it, as consoles show it. The bucket has a "
        f"setting of its own: set {variable} to {right}"
    )


def without_bucket(endpoint_url: str, bucket: str) -> str | None:
    """Return the address without the bucket, or None if it does not hold the bucket.

    A path in general is left alone, and a host that merely begins like the bucket as well.
    """
    parts = urlsplit(endpoint_url)
    if not bucket:
        return None
    segments = parts.path.strip("/").split("/")
    named = [i for i in (0, len(segments) - 1) if unquote(segments[i]) == bucket]
    if named and parts.path.rstrip("/") not in _API_PATHS:
        path = "/".join(["", *segments[: named[0]]]).rstrip("/")
        return urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    right = without_label(endpoint_url, bucket)
    return right if right is not None and _is_api(urlsplit(right).netloc) else None


def without_label(endpoint_url: str, bucket: str) -> str | None:
    """Return the address without the bucket's name in front of its host, or None if it has none.

    It may be the bucket's own host, or merely one of the same name: only the storage can tell.
    """
    parts, label = urlsplit(endpoint_url), bucket.lower() + "."
    if not parts.netloc.lower().startswith(label):
        return None
    return urlunsplit((parts.scheme, parts.netloc[len(label) :], parts.path, "", ""))


def _is_api(netloc: str) -> bool:
    """Tell whether a host, with or without a port, is known to be an S3 API."""
    host = netloc.lower().partition(":")[0]
    first, _, rest = host.partition(".")
    return host.endswith(_PROVIDERS) or (bool(rest) and first.partition("-")[0] in _API_NAMES)


def may_be_virtual(endpoint_url: str) -> bool:
    """Tell whether a name in front of the endpoint's host can exist: not before an IP address."""
    host = urlsplit(endpoint_url).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return "." in host.strip(".")
    return False


def in_front(endpoint_url: str, bucket: str) -> str:
    """Return the address of a bucket as a virtual host: its name in front of the endpoint's."""
    parts = urlsplit(endpoint_url)
    return urlunsplit((parts.scheme, f"{bucket}.{parts.netloc}", parts.path, "", ""))
