"""Printing of texts and tables, complete whatever the width of the window."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

console = Console()

#: Width of tables in a pipe or a file.
_WIDTH = 120
#: A folded column has at least so many characters.
_LEAST_FOLDED = 24
#: Frame and spaces of a column.
_FRAME = 3


def show(output: str | Table, keys: Sequence[str] = ()) -> None:
    """Print a text without wrapping and colours, or a table in as many parts as the window needs.

    A narrow window or a pipe must not cut off names or numbers.

    Args:
        output: text or table.
        keys: headings of the columns with which each part of a table begins; see `fitted`.

    """
    if isinstance(output, Table):
        for part in fitted(output, shutil.get_terminal_size((_WIDTH, 0)).columns, keys):
            Console(width=max(_measured(part), console.width)).print(part)
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


def fitted(table: Table, width: int, keys: Sequence[str] = ()) -> Iterator[Table]:
    """The table if it is at most `width` characters wide; else a narrower one, or several where that is not enough.

    Columns with `overflow="fold"` hold sentences, which are folded; of the others only the headings are, between
    words. Each part begins with the columns `keys`; without keys with the first ones, as far as they are names and
    take less than half of the width.
    """
    if _measured(table) <= width:
        yield table
        return
    columns = table.columns
    widths = [_FRAME + max(map(_measured, ("", *column.cells, *str(column.header).split()))) for column in columns]
    least = [
        min(taken, _FRAME + _LEAST_FOLDED) if column.overflow == "fold" else taken
        for column, taken in zip(columns, widths, strict=True)
    ]
    names = next((index for index, column in enumerate(columns) if column.justify == "right"), len(columns))
    first = (
        [index for index, column in enumerate(columns) if column.header in keys]
        if keys
        else [index for index in range(names) if sum(least[: index + 1]) < width / 2]
    )
    part = list(first)
    for index in (index for index in range(len(columns)) if index not in first):
        if len(part) > len(first) and sum(least[column] for column in part) + least[index] >= width:
            yield _part(table, part, widths, width)
            part = list(first)
        part.append(index)
    yield _part(table, part, widths, width)


def _part(table: Table, indices: Sequence[int], widths: Sequence[int], width: int) -> Table:
    """Some columns of a table, folded to a width; `widths` are those of the unfolded columns with their frames."""
    part, columns = Table(title=table.title, caption=table.caption), [table.columns[index] for index in indices]
    folded = [index for index in indices if table.columns[index].overflow == "fold"]
    room = width - 1 - sum(widths[index] for index in indices if index not in folded)
    for index, column in zip(indices, columns, strict=True):
        most = widths[index] if index not in folded else max(room // len(folded), _FRAME + _LEAST_FOLDED)
        lines = textwrap.wrap(
            str(column.header), widths[index] - _FRAME, break_long_words=False, break_on_hyphens=False
        )
        part.add_column("\n".join(lines), justify=column.justify, overflow=column.overflow, max_width=most - _FRAME)
    for cells in zip(*(column.cells for column in columns), strict=True):
        part.add_row(*cells)
    return part


def _measured(shown: RenderableType) -> int:
    """Characters of the widest line, not folded."""
    return console.measure(shown, options=console.options.update(width=100_000)).maximum


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
