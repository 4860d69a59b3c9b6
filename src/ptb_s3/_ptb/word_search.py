"""Find strings that many values of a kind share, and suggest them as words of the store.

Words are strings that stand once in `head` and are referred to by number in values, as FORMAT.md
specifies: ten thousand users with the same dictionary keys need these keys once. The search reads a
sample of a blob that was just written, since that is when a kind has grown.
"""

from __future__ import annotations

import asyncio
import contextlib

from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import MANY_ALIKE, Kind
from ptb_s3._format.words import MAX_WORDS
from ptb_s3._values.loading import load_all
from ptb_s3._values.serializer import PickleSerializer, Serializer
from ptb_s3._values.shared_strings import common_words, sample
from ptb_s3.errors import PersistenceError


async def suggest_words(repository: Repository, serializer: Serializer, kind: Kind) -> None:
    """Suggest shared strings of a kind's values, to be committed in head with the next commit.

    Does nothing for kinds whose entities are not alike, for serializers that know no words, and
    once head has all the words that it may have. Values that do not load are no concern here:
    whoever asks for them gets the error.

    Args:
        repository: Repository that takes the suggestion.
        serializer: Serializer of its values.
        kind: Kind whose values are sampled.
    """
    if kind not in MANY_ALIKE or not isinstance(serializer, PickleSerializer):
        return
    if len(repository.words) == MAX_WORDS:
        return
    some = sample(repository.base.entities[kind])
    with contextlib.suppress(PersistenceError):
        values = load_all(serializer, kind, some)
        await asyncio.sleep(0)  # loading and counting hold the loop for some milliseconds each
        repository.suggest(common_words(list(values.values())))
