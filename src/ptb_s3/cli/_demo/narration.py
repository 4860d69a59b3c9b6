"""Narration of the demo on the terminal: chapters, lines of the chat, and claims that hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

S = TypeVar("S")

_WIDTH = 80  # columns at most: README shows the output
_INDENT = 3  # columns
_SPEAKER = 5  # columns for the name of the one who speaks


class StepFailedError(Exception):
    """Raised where a claim does not hold."""

    def __init__(self, expected: str, found: object) -> None:
        super().__init__(f"expected: {expected} Found: {found}.")


class Narrator:
    """Printer of the demo, with colours and spinners on a terminal alone.

    Args:
        console: The console to print to; None: standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._console.width = min(self._console.width, _WIDTH)
        unicode = self._console.encoding.startswith("utf")
        self._tick, self._cross = ("✓", "✗") if unicode else ("+", "!")
        self._spinner = "dots" if unicode else "line"

    @contextmanager
    def waiting(self, for_what: str) -> Iterator[None]:
        """Show on a terminal that something goes on."""
        if not self._console.is_terminal:
            yield
            return
        with self._console.status(for_what, spinner=self._spinner):
            yield

    @contextmanager
    def serving(self, server: AbstractContextManager[S]) -> Iterator[S]:
        """Run a server, and show that it is starting until it is there."""
        with ExitStack() as stack:
            with self.waiting("SeaweedFS is starting"):
                running = stack.enter_context(server)
            yield running

    def title(self, text: str) -> None:
        """Print the title of the demo."""
        self._console.print(Text(text, style="bold"))

    def chapter(self, number: int, title: str) -> None:
        """Print the heading of a step."""
        self._console.print()
        self._console.print(Text(f"{number}. {title}", style="bold cyan"))

    def say(self, text: str) -> None:
        """Print a remark."""
        self._console.print(Padding(Text(text), (0, 0, 0, _INDENT), expand=False))

    def chat(self, who: str, text: str, buttons: Sequence[str] = ()) -> None:
        """Print a line of the chat, with the buttons of the message if it has any."""
        quote = Text(text, style="italic")
        for button in buttons:
            quote.append(f"  [{button}]", style="not italic blue")
        self._console.print(self._row(Text(who.rjust(_SPEAKER), style="dim"), quote))

    def holds(self, claim: str) -> None:
        """Print a claim that holds."""
        self._console.print(self._row(Text(self._tick, style="bold green"), Text(claim)))

    def check(self, held: bool, claim: str, found: object = "otherwise") -> None:  # noqa: FBT001 - reads as one says it
        """Print a claim, or fail the step where the claim does not hold.

        Args:
            held: Whether it holds.
            claim: The claim, as a sentence.
            found: What was found instead, for the error.

        Raises:
            StepFailedError: It does not.
        """
        if not held:
            raise StepFailedError(claim, found)
        self.holds(claim)

    def end(self, text: str) -> None:
        """Print how the demo ended."""
        self._console.print()
        self._console.print(Text(text, style="bold green"))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table whose columns but the first hold numbers."""
        table = Table(*columns[:1], box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in columns[1:]:
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(*row)
        self._console.print(Padding(table, (0, 0, 0, _INDENT), expand=False))

    def failure(self, number: int, title: str, error: Exception) -> None:
        """Print which step did not hold, and why."""
        self._console.print(
            self._row(
                Text(self._cross, style="bold red"),
                Text(f"Step {number} ({title}) did not hold: {str(error) or type(error).__name__}"),
            )
        )

    def _row(self, mark: Text, text: Text) -> Padding:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True)
        grid.add_column()
        grid.add_row(mark, text)
        return Padding(grid, (0, 0, 0, _INDENT), expand=False)
