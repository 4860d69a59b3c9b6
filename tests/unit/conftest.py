"""Unit tests run in one thread, and in a few seconds: the same each time, and often.

What takes long and finds little anew is left to ``--long``, which CI passes: tests marked ``long``,
and three of four examples of each property. So no promise goes untested, and none has to wait.
"""

from __future__ import annotations

import functools
import gc
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import is_hypothesis_test, settings

from ptb_s3._engine.repository import Repository
from ptb_s3._storage.threads import Worker

# An example that takes long on a busy machine is no fault.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

_HERE = Path(__file__).parent
# Share of a property's examples that is tried without --long; and the fewest that are.
_QUICK_SHARE, _FEWEST_EXAMPLES = 4, 10


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without ``--long``, leave out the tests marked so, and most examples of the others.

    A test that is named by its id runs as it is: whoever names it wants it.
    """
    if config.getoption("--long") or any("::" in argument for argument in config.args):
        return
    left_out = [item for item in items if _is_ours(item) and item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    for item in items:
        if _is_ours(item):
            _try_fewer_examples(getattr(item, "obj", None))


def _is_ours(item: pytest.Item) -> bool:
    return _HERE in item.path.parents


def _try_fewer_examples(test: Any) -> None:
    """Lower a property's ``max_examples``, which its own ``@settings`` states for ``--long``."""
    stated: settings | None = getattr(test, "_hypothesis_internal_use_settings", None)
    if stated is None or not is_hypothesis_test(test) or hasattr(test, "_quick"):
        return  # once, though its item is one of several
    test._quick = True
    fewer = max(_FEWEST_EXAMPLES, stated.max_examples // _QUICK_SHARE)
    test._hypothesis_internal_use_settings = settings(stated, max_examples=fewer)


@pytest.fixture(autouse=True, scope="session")
def _certificates_are_read_once() -> Iterator[None]:
    """Share TLS contexts: PTB has httpx load all certificates for each application, for 15 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(autouse=True, scope="module")
def _the_collector_passes_over_what_is_imported() -> None:
    """Else each full pass of it walks through all modules and tests: a tenth of the time.

    Once for each module, since some tests undo it.
    """
    gc.freeze()


async def _at_once(work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return work(*args, **kwargs)


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Repository.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "offload", _at_once)
    monkeypatch.setattr(Worker, "__call__", staticmethod(_at_once))
