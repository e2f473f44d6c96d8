"""The report on a file that the `files` provider has read: format, rows, and refused rows by reason."""

from collections.abc import Mapping
from typing import NamedTuple


class FileRead(NamedTuple):
    """The report on a file, for people.

    Attributes:
        kind: of the file, as in the settings.
        file: its name in the settings, with its `where`.
        parts: number of files.
        said: detected format.
        rows: of all parts, after `where`.
        read: number of rows that can be read; a bar without a readable price counts, and goes into quarantine.
        refused: the others, by reason.

    """

    kind: str
    file: str
    parts: int
    said: tuple[str, ...]
    rows: int
    read: int
    refused: Mapping[str, int]

    @property
    def shown(self) -> str:
        """One sentence."""
        many = f" ({self.parts} files)" if self.parts > 1 else ""
        how = f" read as: {', '.join(self.said)};" if self.said else ":"
        lost = ", ".join(f"{count} {reason}" for reason, count in self.refused.items())
        return f"{self.file}{many}{how} {self.rows} rows, {f'{self.read} read, refused {lost}' if lost else 'all read'}"
