"""`quant known` on a storage made by hand: statements with a restatement, a statement of a ticker that moves in, macro
estimates."""

from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.io.store import DatasetStore
from quant_assets.partitions import month_end
from quant_assets_tests.command import Quant, status_of
from quant_assets_tests.graph import demo_datasets

DATASETS = demo_datasets()
Q1, Q2 = date(2024, 3, 31), date(2024, 6, 30)


def _statement(
    ticker: str, end: date, known_at: date, revenue: float, panel_from: date | None = None
) -> dict[str, Any]:
    return {
        "sector": "it",
        "ticker": ticker,
        "period_end": end,
        "frequency": "quarterly",
        "known_at": known_at,
        "provider": "demo",
        "restated": False,
        "revenue": revenue,
        "panel_from": panel_from or known_at,
    }


@pytest.fixture
def quant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Quant) -> Quant:
    """The command in this process on that storage."""
    store = DatasetStore(str(tmp_path / "demo"))
    statements = [
        _statement("A", Q1, date(2024, 5, 2), 10.0),
        _statement("A", Q1, date(2024, 6, 20), 11.0),  # restated
        _statement("A", Q2, date(2024, 8, 1), 12.0),
        _statement("A", Q1, date(2024, 8, 5), 11.5),  # and again, after the next period
        _statement("B", Q1, date(2024, 5, 3), 20.0, panel_from=date(2024, 6, 24)),  # moves in
    ]
    rows = pl.DataFrame(statements, schema=DATASETS["fundamentals"].empty().schema)
    months = [f"2024-0{month}" for month in range(5, 9)]
    store.write(DATASETS["fundamentals"], rows, [f"{month}|it" for month in months], lambda each: month_end(each[:7]))
    macro = pl.DataFrame(
        [
            ("GDP", date(2024, 1, 1), date(2024, 5, 6), 1.0),
            ("GDP", date(2024, 1, 1), date(2024, 6, 6), 1.1),
            ("GDP", date(2023, 10, 1), date(2024, 6, 7), 0.9),
        ],
        schema=DATASETS["macro"].empty().schema,
        orient="row",
    )
    store.write(DATASETS["macro"], macro, months, month_end)
    for name, value in (("QUANT__STORAGE", str(tmp_path)), ("QUANT__AS_OF", "2024-08-30")):
        monkeypatch.setenv(name, value)

    return partial(command, "known")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("2024-05-31",), [("A", "2024-03-31", "10")]),
        (("2024-06-19",), [("A", "2024-03-31", "10")]),
        (
            ("2024-06-20",),
            [("A", "2024-03-31", "11")],
        ),  # the restatement is in force from its day on; B is not in the sector yet
        (("2024-06-28",), [("A", "2024-03-31", "11"), ("B", "2024-03-31", "20")]),
        (("2024-06-28", "--ticker", "B"), [("B", "2024-03-31", "20")]),
        (("2024-08-30", "-t", "A"), [("A", "2024-03-31", "11.5"), ("A", "2024-06-30", "12")]),
        (
            ("2024-08-30", "-t", "A", "--newest"),
            [("A", "2024-06-30", "12")],
        ),  # the newest period, not the newest announcement
    ],
)
def test_statements_as_they_were_known(
    quant: Quant, arguments: tuple[str, ...], expected: list[tuple[str, str, str]]
) -> None:
    for sector in ((), ("--sector", "it")):
        shown = quant("fundamentals", "--as-of", *arguments, *sector)
        assert (shown.status, shown.err) == (0, "")
        assert [(row["ticker"], row["period_end"], row["revenue"]) for row in shown.rows] == expected


def test_macro_as_it_was_known(quant: Quant) -> None:
    def values(*arguments: str) -> list[tuple[str, str]]:
        return [(row["period"], row["value"]) for row in quant("macro", *arguments).rows]

    assert values("--as-of", "2024-06-05") == [("2024-01-01", "1")]
    assert values("--as-of", "2024-06-07") == [("2023-10-01", "0.9"), ("2024-01-01", "1.1")]
    assert values("--as-of", "2024-06-07", "--newest") == [("2024-01-01", "1.1")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "prices --as-of 2024-06-28",
            "dataset 'prices' has no revisions, so what is stored is what was known: quant show prices -m 2024-06 "
            "prints it; quant known is for rows that are published late or revised: quarantine, delistings, "
            "fundamentals, macro, labels",
        ),
        ("candidates --as-of 2024-06-28", "quant show candidates -m 2024-06 prints it"),
        (
            "universe --as-of 2024-06-28",
            "(where sector_assumed is true, the sector is that of the ticker's first, later",
        ),
        ("price --as-of 2024-06-28", "dataset 'price' does not exist; quant known is for rows"),
        ("macro --as-of june", "write it as YYYY-MM-DD"),
        ("macro --as-of 2024-09-02", "later than the last closed session 2024-08-30"),
        ("macro --as-of 2024-06-28 --sector it", "has no sectors"),
        ("macro --as-of 2024-06-28 --ticker A", "has no tickers"),
        ("macro --as-of 2024-04-30", "no month of 'macro' up to 2024-04"),
        ("fundamentals --as-of 2024-06-28 -s it -s energy", "no month of 'fundamentals' of energy"),
    ],
)
def test_mistakes_are_one_line(quant: Quant, arguments: str, message: str) -> None:
    status, out, err = quant(*arguments.split())
    assert (status, out, err.count("\n")) == (status_of(err), "", 1)
    assert message in err


def test_a_hole_between_is_no_answer(quant: Quant, tmp_path: Path) -> None:
    store = DatasetStore(str(tmp_path / "demo"))
    Path(store.path(DATASETS["macro"], "2024-06")).unlink()
    assert "2024-06" in quant("macro", "--as-of", "2024-08-30").err
    assert quant("macro", "--as-of", "2024-05-31").status == 0
