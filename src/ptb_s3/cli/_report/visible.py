"""Text of others made visible: characters that hide, or turn the direction, are named. Pure.

What a bot was sent may hold them, so that a value would look like another one, or like our words.
"""

from __future__ import annotations

import unicodedata

# Control, format (bidi controls, zero-width characters), halves of surrogate pairs, and separators
# of lines and paragraphs (Unicode Standard Annex #44, "General_Category Values").
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"})
_PLAIN = frozenset({"\n", "\t"})


def visible(text: str) -> str:
    """Return a text with each character that cannot be seen as its number, such as ``⟨U+202E⟩``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_named(letter) if _hides(letter) else letter for letter in text)


def _hides(letter: str) -> bool:
    return letter not in _PLAIN and unicodedata.category(letter) in _HIDDEN


def _named(letter: str) -> str:
    return f"⟨U+{ord(letter):04X}⟩"
