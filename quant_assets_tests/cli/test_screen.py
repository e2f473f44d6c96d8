"""Tables on the screen: as wide as the window allows, and nothing of them cut off."""

import polars as pl
import pytest
from rich.console import Console
from rich.table import Column, Table

from quant_assets.cli.screen import fitted
from quant_assets.cli.show import Rows, written
from quant_assets.schemas import DATASETS

NAMES = ("ticker", "date", "sector")
NUMBERS = tuple(f"figure number {n}" for n in range(12))
SENTENCE = "windows of the settings were changed since the month was computed, and with them the rows"


def lines(table: Table) -> list[str]:
    """The lines of a table in a window that is wide enough."""
    console = Console(width=10_000)
    with console.capture() as captured:
        console.print(table)
    return captured.get().splitlines()


def wide() -> Table:
    table = Table(*NAMES, *(Column(name, justify="right") for name in NUMBERS), caption="USD million")
    for row in range(3):
        table.add_row(f"AAA{row}", "2024-01-31", "healthcare", *(f"{row}{n:02d}.25" for n in range(12)))
    return table


def test_a_table_that_fits_stays_as_it_is() -> None:
    (part,) = fitted(wide(), 400)
    assert lines(part) == lines(wide())
    width = max(map(len, lines(wide())))
    assert len(list(fitted(wide(), width))) == 1
    assert lines(next(fitted(wide(), width))) == lines(wide())


def test_headings_are_broken_between_words_first() -> None:
    (part,) = fitted(wide(), 160)
    assert max(map(len, lines(part))) <= 160
    assert part.columns[3].header == "figure\nnumber\n0"
    assert [list(column.cells) for column in part.columns] == [list(column.cells) for column in wide().columns]


@pytest.mark.parametrize("width", [70, 100, 120])
def test_a_wide_table_is_several_that_fit_and_begin_alike(width: int) -> None:
    parts = list(fitted(wide(), width, ["date", "ticker"]))
    assert len(parts) > 1
    assert max(len(line) for part in parts for line in lines(part)) <= width
    assert all([column.header for column in part.columns[:2]] == ["ticker", "date"] for part in parts)
    rest = [" ".join(str(column.header).split()) for part in parts for column in part.columns[2:]]
    assert rest == ["sector", *NUMBERS], "each other column is in one part, in order"
    texts = "\n".join(line for part in parts for line in lines(part))
    assert all(f"{row}{n:02d}.25" in texts for row in range(3) for n in range(12))


def test_without_keys_the_names_are_repeated() -> None:
    first, second = fitted(wide(), 120)
    assert [column.header for column in first.columns[:3]] == list(NAMES)
    assert [column.header for column in second.columns[:3]] == list(NAMES)
    narrow = list(fitted(wide(), 60))
    assert all([column.header for column in part.columns[:2]] == ["ticker", "date"] for part in narrow)
    assert [column.header for column in narrow[0].columns[2:4]] == ["sector", "figure\nnumber\n0"]


def test_a_sentence_is_folded_and_no_name_is() -> None:
    table = Table("asset", "first", Column("why", overflow="fold"))
    table.add_row("lightgbm_checkpoint", "2024-01", SENTENCE)
    table.add_row("predictions of all", "2024-02", "code")
    (part,) = fitted(table, 80)
    shown = lines(part)
    assert max(map(len, shown)) == 80, "the sentence takes what is left"
    assert any("lightgbm_checkpoint │ 2024-01 │ windows of the settings" in line for line in shown)
    assert any("predictions of all " in line for line in shown)
    assert " ".join(line.split("│")[-2].strip() for line in shown if "│" in line).startswith(SENTENCE)


def test_one_column_that_is_wider_than_the_window_stays_whole() -> None:
    table = Table("ticker", "file")
    table.add_row("AAA", "x" * 90)
    assert any("x" * 90 in line for part in fitted(table, 60) for line in lines(part))


def test_a_table_without_rows_has_its_headings() -> None:
    parts = list(fitted(Table(*(f"column_{n}" for n in range(20))), 100))
    assert max(len(line) for part in parts for line in lines(part)) <= 100
    assert {column.header for part in parts for column in part.columns} == {f"column_{n}" for n in range(20)}


def test_rows_of_a_dataset_are_folded_at_words_and_split_by_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    hashes = {f"model_{n}": ["0123456789abcdef" * 3] for n in range(2)}
    rows = Rows(
        DATASETS["weights"],
        ["2024-01|it", "2024-01|energy"],
        pl.LazyFrame({"reason": [SENTENCE], "sector": ["it"], "ticker": ["AAA"], "as_of": ["2024-01-31"]} | hashes),
    )
    written(rows, "table", None, None)
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 81, "a hash is not broken"
    assert sum("│ AAA    │ 2024-01-31 │" in line for line in shown) == 3
    assert sum("0123456789abcdef" * 3 in line for line in shown) == 2
    assert "windows of the settings" in "\n".join(shown)
