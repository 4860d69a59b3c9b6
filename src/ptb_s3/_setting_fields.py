"""Fields of settings: the text of a variable becomes a value, or the end of a sentence of a fault.

Plain functions and dataclasses, without a library for settings: that would take longer to import
than all else of this package together, at each cold start of a serverless host. A reader raises
`ValueError` with what is wrong, which the name of the variable is put in front of, or a
`SettingsError` that is a sentence of its own. No text shows a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any, Final, TypeAlias, TypeVar

from ptb_s3._environment import is_blank, variable_of
from ptb_s3._options import WANTED, option_fault
from ptb_s3.errors import SettingsError

Reader: TypeAlias = Callable[[str, str], Any]
"""Reader of a variable's text, which is also given the setting's name."""

_Made = TypeVar("_Made")

_YES: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
_NO: Final = frozenset({"0", "false", "f", "no", "n", "off"})


class FaultsError(Exception):
    """Raised where settings cannot be used, with the lines that say so and no value.

    Attributes:
        lines: One for each fault.
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines


def setting(read: Reader, description: str, default: Any = MISSING) -> Any:  # noqa: ANN401 - as `field`
    """Return a dataclass field for a setting.

    Args:
        read: Reader of its text.
        description: One sentence for the reference.
        default: Value where the variable is not set; `MISSING`: it has to be.
    """
    metadata = {"read": read, "description": description}
    return field(default=default, metadata=metadata)


def made(
    model: Callable[..., _Made], given: Mapping[str, Any], missing: Mapping[str, str]
) -> _Made:
    """Make settings of the texts of variables.

    Args:
        model: Dataclass of the settings.
        given: Texts by setting, without blank ones. An error in the place of a text is told as it
            is, and a value that is no text is taken as it is.
        missing: Sentences for settings that have to be there, by their names.

    Raises:
        FaultsError: Some cannot be used, or are missing.
    """
    values: dict[str, Any] = {}
    lines: list[str] = []
    for one in fields(model):  # type: ignore[arg-type]  # it is a dataclass
        if one.name in given:
            try:
                values[one.name] = _read(one, given[one.name])
            except SettingsError as error:
                lines.append(str(error))
            except ValueError as error:
                lines.append(f"{variable_of(one.name)} {error}")
        elif one.default is MISSING:
            lines.append(f"{variable_of(one.name)} {missing[one.name]}")
    if lines:
        raise FaultsError(lines)
    return model(**values)


def _read(one: Field[Any], given: object) -> object:
    """Return the value of a setting, checked as the option of its name is.

    Raises:
        ValueError: It cannot be used.
        SettingsError: As above, as a sentence.
    """
    if isinstance(given, SettingsError):
        raise given
    value = one.metadata["read"](given.strip(), one.name) if isinstance(given, str) else given
    if fault := option_fault(one.name, value):
        raise ValueError(fault)
    return value


def text(given: str, _name: str) -> str:
    """Return a text as it is."""
    return given


def texts(given: str, _name: str) -> tuple[str, ...]:
    """Split a text at commas, and skip empty parts, as after a trailing comma."""
    return tuple(part.strip() for part in given.split(",") if not is_blank(part))


def number(given: str, name: str) -> float:
    """Read a finite number.

    Raises:
        ValueError: It is none.
    """
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    raise ValueError(WANTED[name])


def whole_number(given: str, name: str) -> int:
    """Read a whole number.

    Raises:
        ValueError: It is none.
    """
    value = number(given, name)
    if value.is_integer():
        return int(value)
    raise ValueError(WANTED[name])


def yes_or_no(given: str, name: str) -> bool:
    """Read a truth value, as compose files and shells write them.

    Raises:
        ValueError: It is none.
    """
    word = given.lower()
    if word in _YES | _NO:
        return word in _YES
    raise ValueError(WANTED[name])


def one_of(*choices: str) -> Reader:
    """Return a reader for one of a few words."""

    def read(given: str, name: str) -> str:
        if given in choices:
            return given
        raise ValueError(WANTED[name])

    return read


def sync(given: str, name: str) -> float | str | None:
    """Read "auto", a number of seconds, or "none" (or nothing) for None.

    Raises:
        ValueError: It is none of them.
    """
    word = given.lower()
    if word in ("", "none"):
        return None
    return word if word == "auto" else number(word, name)
