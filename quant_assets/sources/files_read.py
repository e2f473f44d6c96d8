"""What was read of one of the `files` provider's files: how it is written, rows, and rows refused by reason."""

from collections.abc import Mapping
from typing import NamedTuple


class FileRead(NamedTuple):
    """What was read of a file, for people.

    Attributes:
        kind: of the file, as the settings name it.
        file: its name in the settings, with its `where`.
        parts: how many files that are.
        said: what was found out about how it is written.
        rows: of all parts that `where` leaves.
        used: of these; a bar without a price that can be read is one, until it is refused for it.
        refused: rows by reason.

    """

    kind: str
    file: str
    parts: int
    said: tuple[str, ...]
    rows: int
    used: int
    refused: Mapping[str, int]

    @property
    def shown(self) -> str:
        """One sentence."""
        many = f" ({self.parts} files)" if self.parts > 1 else ""
        how = f" read as: {', '.join(self.said)};" if self.said else ":"
        lost = ", ".join(f"{count} {reason}" for reason, count in self.refused.items())
        return f"{self.file}{many}{how} {self.rows} rows, {f'{self.used} used, refused {lost}' if lost else 'all used'}"
