"""Texts of the bot, in a module of their own."""

from __future__ import annotations

from collections.abc import Sequence


def shown(items: Sequence[str]) -> str:
    """Return a list as it is shown to its user."""
    return "\n".join(items) or "Write, and I keep it for you."
