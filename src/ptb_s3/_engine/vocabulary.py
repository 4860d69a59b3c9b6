"""Vocabulary: the words of a store, as far as this process knows them. Pure.

Words are strings that values share, spelled once in the head (`_format.words`). Two rules:

* A value may refer to a word only once a head that has it is committed, and so from the commit
  after the one that brought it. If that commit does not take effect, other words are in its place.
* While another writer's changes are merged, values of theirs are loaded: so their words have to be
  known before their head becomes the base, and are forgotten again if that fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Vocabulary:
    """Owner of a store's words: those that values may refer to, and those suggested for later.

    Invariant: a word keeps its number for as long as its head's line goes on; words are only added.

    Args:
        known: Words of the head that was loaded.
    """

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known
        self._suggested: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """Return the words that values may refer to, by their numbers."""
        return self._known

    @property
    def suggested(self) -> tuple[str, ...]:
        """Return the words to go with the next commit, if there is one."""
        return self._suggested

    def suggest(self, words: Iterable[str]) -> None:
        """Have words go with the next commit, if there is one."""
        self._suggested += tuple(words)

    def forget_suggested(self) -> None:
        """Forget suggested words, which were found in values of another branch."""
        self._suggested = ()

    def learn(self, words: tuple[str, ...]) -> None:
        """Go by the words of a head that has become the base.

        None of them is suggested any more.
        """
        self._known = words
        self._suggested = tuple(word for word in self._suggested if word not in words)

    @contextmanager
    def learning(self, words: tuple[str, ...]) -> Iterator[None]:
        """Go by the words of a head that is about to become the base, unless the block raises."""
        before = self._known
        self._known = words
        try:
            yield
        except BaseException:  # merge= may even end the process, and a stop saves once more
            self._known = before
            raise
        self.learn(words)
