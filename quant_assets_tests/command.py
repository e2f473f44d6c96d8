"""The `quant` command in the process of a test, and what it leaves on the screen."""

import re
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from quant_assets.cli import main


class Outcome(NamedTuple):
    """Exit status, stdout and stderr of a command."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, str]]:
        """The cells of the tables by column; all tables have the same ones."""
        lines = self.out.splitlines()
        head = [cell.strip() for line in lines if line.startswith("┃") for cell in line.strip("┃").split("┃")]
        body = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
        return [dict(zip(head, cells, strict=True)) for cells in body]


#: Beginnings of messages about what was typed: an option, or a word that cannot be what it stands for.
_TYPED = re.compile(
    r"error: (--(?!open|as-of \S+ is before the first decision)|(sector|month|day|selection) '"
    r"|there is no (asset|dataset|kind of model) '|the first (month|day) \S+ is later|n_splits="
    r"|(profile|model) '[^']*' (does not exist|is none of)|model \S+ is not registered"
    r"|dataset '\w+' (does not exist|has no)|'?[\w-]+'? is not a (day|provider))"
)


def status_of(message: str) -> int:
    """The exit status that belongs to the message of a command: 2 of a mistake in what was typed, else 1."""
    return 2 if _TYPED.match(message) else 1


Quant = Callable[..., Outcome]


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> Outcome:
    """Run `quant` with arguments, in a window that is wide enough for every table."""
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setattr(sys, "argv", ["quant", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return Outcome(int(ended.value.code or 0), captured.out, captured.err)
