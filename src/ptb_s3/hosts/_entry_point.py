"""Application of a bot, made by a function of the user's project or by the name of one.

A name is ``module:function``, as in entry points and WSGI servers. The module is imported from
where Python finds it: with ``python -m``, that is the working directory first. It keeps its own
name and is never ``__main__``, so that the classes in it can be saved and found again.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeAlias

from telegram.ext import Application

from ptb_s3.errors import SettingsError
from ptb_s3.persistence import S3Persistence

App: TypeAlias = Application[Any, Any, Any, Any, Any, Any]
Build: TypeAlias = Callable[[], App]


def application_of(build: Build | str) -> App:
    """Make the application.

    Args:
        build: Function without arguments that returns it, or its name: ``"shop.bot:build"``.

    Raises:
        SettingsError: There is no such function, or what it returns is no application with an
            `S3Persistence`. What the function itself raises is passed on.
    """
    application = (_function(build) if isinstance(build, str) else build)()
    if not isinstance(application, Application):
        raise SettingsError(
            f"{_name(build)} returned {type(application).__name__}, and no Application. Have it "
            "return what ApplicationBuilder().build() returns."
        )
    if not isinstance(application.persistence, S3Persistence):
        raise SettingsError(
            f"The application of {_name(build)} has no S3Persistence: give it one with "
            "ApplicationBuilder().persistence(S3Persistence.from_env())."
        )
    return application


def _function(name: str) -> Build:
    """Return the function that is called ``module:function``.

    Raises:
        SettingsError: The name has another form, or there is no such module or function.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise SettingsError(
            f"{name!r} is not the name of a function. Give module:function, as in shop.bot:build."
        )
    found = getattr(_module(module), function, None)
    if not callable(found):
        raise SettingsError(f"Module {module} has no function {function}.")
    made: Build = found
    return made


def _module(name: str) -> Any:  # noqa: ANN401 - a module of the user's
    """Import a module of the user's project.

    Raises:
        SettingsError: It is not there. A module that it lacks itself is Python's own error, whose
            traceback says where it is imported.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
    raise SettingsError(
        f"There is no module {name}. Start in the folder that it can be imported from, or put that "
        "folder into PYTHONPATH."
    )


def _name(build: Build | str) -> str:
    return build if isinstance(build, str) else getattr(build, "__qualname__", "the function")
