"""Printing of texts and tables, complete whatever the width of the window."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

console = Console()


def show(output: str | Table) -> None:
    """Print a text without wrapping and colours, or a table at full width.

    A narrow window or a pipe must not cut off names or numbers.
    """
    if isinstance(output, Table):
        needed = console.measure(output, options=console.options.update(width=1_000)).maximum
        Console(width=max(needed, console.width)).print(output)
    else:
        console.print(output, soft_wrap=True, highlight=False, markup=False)


class Empty(NamedTuple):
    """A sector that has nothing to show in a month, and why."""

    sector: str
    month: str
    reason: str


def merged(parts: Iterable[str | Table | Empty]) -> Iterator[str | Table]:
    """Lines and tables as they come; then, in one line for each reason, the sectors that have nothing to show."""
    empty: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        if isinstance(part, Empty):
            empty.setdefault((part.month, part.reason), []).append(part.sector)
        else:
            yield part
    for (month, reason), sectors in empty.items():
        yield f"{', '.join(sectors)} {month}: {reason}"


def counted(number: int, thing: str) -> str:
    """A number with its noun, as in 1 partition and 1,200 partitions."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


class Counter:
    """Progress: a bar in a terminal, elsewhere (a log, a pipe) one line per tenth.

    Args:
        things: counted things, in the plural.
        total: expected number; corrected if it is too small.

    """

    def __init__(self, things: str, total: int) -> None:
        self._things, self._total, self._done = things, total, 0
        columns = (
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(things, total=total)

    def __enter__(self) -> "Counter":
        self._bar.start()
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:
            self._bar.update(self._task, description="done")
        self._bar.stop()

    def advance(self, last: str, number: int = 1) -> None:
        """Count `number` more things; `last` names the last one."""
        before, self._done = self._done, self._done + number
        self._total = max(self._total, self._done)
        self._bar.update(self._task, advance=number, total=self._total, description=last)
        if self._bar.disable and 10 * self._done // self._total > 10 * before // self._total:
            show(f"{self._done} of {self._total} {self._things}, last {last}")
