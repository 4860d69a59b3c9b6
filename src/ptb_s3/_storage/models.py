"""Models of botocore's services, read once for all sessions of a process, and quickly.

botocore describes its services in JSON: 1.2 MB for S3, and as much for the endpoints of all. Its
own loader makes ordered dictionaries in Python code, and looks through all 400 services before it
takes one. Both together cost a cold start a tenth of a second.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
from botocore.loaders import Loader

_Untyped: TypeAlias = Any  # what botocore reads: it ships no types

_CONTENTS: Final[dict[str, Callable[[bytes], bytes]]] = {
    ".json": bytes,
    ".json.gz": gzip.decompress,
}
"""What makes JSON of a file's bytes, by the ends of names, in botocore's order."""

_OF_ALL: Final = ("endpoints", "partitions", "sdk-default-configuration", "_retry")
_OF_SERVICE: Final = ("service-2", "endpoint-rule-set-1")


class Models(Loader):  # type: ignore[misc] # botocore ships no types
    """Loader that takes each folder of its search path for a service, without a look into it.

    A service that has no model of a kind is told when that is looked for.
    """

    def list_available_services(self, _type_name: str) -> list[str]:
        """Return the names of folders."""
        places = [Path(place) for place in self.search_paths if Path(place).is_dir()]
        return sorted({entry.name for place in places for entry in place.iterdir()})


class _JsonFiles:
    """Reader of JSON files, as botocore's own, which makes plain dictionaries."""

    def exists(self, path: str) -> bool:
        return any(Path(path + end).is_file() for end in _CONTENTS)

    def load_file(self, path: str) -> _Untyped:
        for end, content in _CONTENTS.items():
            if (file := Path(path + end)).is_file():
                return msgspec.json.decode(content(file.read_bytes()))
        return None


@cache
def models(*search_path: str) -> Models:
    """Return the loader for a search path, which keeps what it has read.

    Args:
        search_path: Folders that models are looked for in, the first one first.
    """
    return Models([*search_path], _JsonFiles(), include_default_search_paths=False)


def read_ahead(loader: Models, service: str) -> None:
    """Read what a client of a service will need.

    Args:
        loader: Keeps it.
        service: Name of the service.
    """
    for model in _OF_SERVICE:
        loader.load_service_model(service, model)
    for data in _OF_ALL:
        loader.load_data(data)
