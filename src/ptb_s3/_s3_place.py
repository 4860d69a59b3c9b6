"""Settings that say where objects lie, refused where they cannot be right. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from ptb_s3.errors import SettingsError


def check_endpoint(endpoint_url: str | None) -> None:
    """Refuse what is no address of a server, and one with a password: it would end up in logs."""
    if endpoint_url is None:
        return
    parts = urlsplit(endpoint_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise SettingsError(
            "The endpoint must be the address of an S3 API, such as https://s3.example.com, "
            "without a user name or password. Mend PTB_S3_ENDPOINT_URL."
        )
