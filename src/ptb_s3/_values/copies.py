"""What stands in a copy for a part that could not be copied."""

from __future__ import annotations

from typing import NoReturn, Self

from ptb_s3.errors import SerializationError


class Uncopied:
    """Placeholder that no serializer takes: the part's last good value is kept in its place.

    Args:
        error: Name of the class of what the copying raised. Its text may quote a value.

    Attributes:
        reason: Why the part is refused, as a clause.
    """

    def __init__(self, error: str) -> None:
        self.reason = f"it cannot be copied ({error})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise SerializationError(self.reason)
