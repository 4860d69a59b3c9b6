"""Addressing styles: the bucket's name in the path, or in front of the endpoint's host.

Every server that has an address of its own takes the path, but some providers' take virtual hosts
alone (OSS, COS, OBS, TOS; Tigris for buckets made since 2025). AWS is left to botocore.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from ptb_s3._storage.place import in_front, may_be_virtual

Style: TypeAlias = Literal["auto", "path", "virtual"]
STYLES = ("auto", "path", "virtual")
_Untyped: TypeAlias = Any  # what aioboto3 hands out: it ships no types


class Addressing:
    """Addressing style of a store: the one given, or the one that the storage was found to take.

    Args:
        style: ``path``, ``virtual``, or ``auto``: as the AWS configuration says, else the path
            style until the storage refuses it.

    Attributes:
        turned: Whether the storage was found to take virtual hosts alone.
        settled: Whether the style is known for good, so that no refusal makes it change.
    """

    def __init__(self, style: Style) -> None:
        self._given = style
        self.turned = False
        self.settled = style != "auto"

    @property
    def style(self) -> Style:
        """Return the style as far as it is known, for another client of the same place."""
        return "virtual" if self.turned else self._given

    def bind(self, client: _Untyped) -> None:
        """Apply the style to a client, from its next request on, unless it was configured."""
        from botocore.regions import EndpointResolverBuiltins as Builtin  # noqa: PLC0415 - not before the first call

        def resolve(builtins: dict[Any, Any], **_: object) -> None:
            if builtins.get(Builtin.SDK_ENDPOINT) is None:
                self.settled = True  # AWS
            elif self.turned:
                builtins[Builtin.AWS_S3_FORCE_PATH_STYLE] = False

        configured = (client.meta.config.s3 or {}).get("addressing_style")
        self.settled |= configured in {"path", "virtual"}
        client.meta.events.register("before-endpoint-resolution.s3", resolve)

    def is_worth_a_try(self, endpoint_url: str) -> bool:
        """Tell whether a refusal may be due to the style, by what is known so far."""
        return not self.settled and may_be_virtual(endpoint_url)

    def turn(self) -> None:
        """Switch to virtual hosts from now on."""
        self.turned = self.settled = True

    def asked(self, client: _Untyped, bucket: str) -> str:
        """Return the address to which a client sends requests about a bucket."""
        endpoint: str = client.meta.endpoint_url
        style = "virtual" if self.turned else (client.meta.config.s3 or {}).get("addressing_style")
        return in_front(endpoint, bucket) if style == "virtual" else endpoint
