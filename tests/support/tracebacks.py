"""Locals of frames, as an error tracker sends them: no secret may be among them."""

from __future__ import annotations

from types import TracebackType


def locals_of_ours(error: BaseException | None) -> list[str]:
    """Return what an error tracker would send of our frames: their locals, of causes as well."""
    shown: list[str] = []
    while error is not None:
        shown += _locals(error.__traceback__)
        shown += map(repr, [error, vars(error)])
        error = error.__cause__ or error.__context__
    return shown


def _locals(place: TracebackType | None) -> list[str]:
    shown = []
    while place is not None:
        frame, place = place.tb_frame, place.tb_next
        if str(frame.f_globals.get("__name__")).startswith("ptb_s3"):
            shown += [f"{frame.f_code.co_qualname}: {n}={v!r}" for n, v in frame.f_locals.items()]
    return shown
