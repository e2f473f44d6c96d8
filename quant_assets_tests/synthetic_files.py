"""Small files of every kind that the files source reads, made by hand, and the source over them."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.base import MEMBERSHIP
from quant_assets.sources.files import FilesSource

START, THROUGH = date(2020, 1, 1), date(2020, 12, 31)
ALL = ["A", "B", "C", "NA"]

SETTINGS: dict[str, Any] = {
    "prices": [
        {
            "file": "raw.parquet",
            "provider": "raw",
            "adjustment": "as_traded",
            "columns": {"dividend": "div", "split_ratio": "split"},
            "no_split": 0.0,
        },
        {"file": "other.parquet", "provider": "one", "adjustment": "total_return", "where": {"source": "one"}},
        {
            "file": "other.parquet",
            "provider": "two",
            "adjustment": "as_traded",
            "where": {"source": "two"},
            "complete_through": "2020-01-31",
        },
    ],
    "membership": {"file": "members.parquet"},
    "securities": {
        "file": "sectors.parquet",
        "columns": {"known_at": "as_of"},
        "sectors": {"Tech": "it", "Phones": "telecoms"},
    },
    "fundamentals": [
        {
            "file": "statements.parquet",
            "provider": "vintages",
            "frequency": "quarterly",
            "shares_as_of": "snapshot",
            "columns": {
                "snapshot": "seen",
                "company": "symbol",
                "revenue": "sales",
                "net_income": "profit",
                "total_debt": ["short", "long"],
                "shares": "count",
            },
        },
        {
            "file": "filings.parquet",
            "provider": "filings",
            "forms": {"10-K": "annual", "10-Q": "quarterly"},
            "columns": {"published": "filed", "form": "form", "revenue": "sales", "total_assets": "assets"},
        },
    ],
    "macro": [
        {
            "file": "macro.parquet",
            "columns": {"period": "date"},
            "series": {
                "CPI": {"frequency": "monthly", "lag_days": 20},
                "GDP": {"frequency": "quarterly", "lag_days": 30},
                "RATE": {"frequency": "daily", "lag_days": 1},
                "CLAIMS": {"frequency": "weekly", "lag_days": 5},
            },
        }
    ],
    "crypto": {"file": "coins.parquet", "columns": {"ticker": "pair", "date": "day"}, "not_read": ["DOGE-USD"]},
    "indices": {"file": "indices.parquet", "columns": {"ticker": "symbol", "close": "adj_close"}, "not_read": ["PCT"]},
}


def made_bars(ticker: str, days: list[date], close: float, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"ticker": ticker, "date": days}).with_columns(
        *(pl.lit(close, pl.Float32).alias(name) for name in ("open", "high", "low", "close")),
        volume=pl.lit(100),
        **{name: pl.lit(value) for name, value in columns.items()},
    )


def every_day(first: date, last: date) -> list[date]:
    return pl.date_range(first, last, "1d", eager=True).to_list()


def small_tables() -> dict[str, pl.DataFrame]:
    january, all_year = every_day(date(2020, 1, 2), date(2020, 1, 31)), every_day(date(2020, 1, 2), date(2020, 12, 31))
    split = pl.col("ticker").eq("A") & pl.col("date").eq(date(2020, 6, 1))
    raw = pl.concat(
        [
            made_bars("A", all_year, 10.5),
            made_bars("B", january, 20.0),
            made_bars("NA", every_day(date(2020, 1, 2), date(2020, 12, 28)), 5.0),
        ]
    )
    filings = ["ticker", "period_end", "filed", "form", "sales", "assets"]
    statements = ["ticker", "symbol", "period_end", "published", "seen", "sales", "profit", "short", "long", "count"]
    q1, q2, early, late = date(2020, 3, 31), date(2020, 6, 30), date(2020, 8, 1), date(2020, 11, 1)
    return {
        "raw": raw.with_columns(div=pl.lit(0.25), split=pl.when(split).then(2.0).otherwise(0.0)),
        "other": pl.concat(
            [
                made_bars("B", every_day(date(2020, 3, 2), date(2020, 3, 6)), 21.0, source="one"),
                made_bars("C", january[:10], 7.0, source="two"),
            ]
        ),
        "members": pl.DataFrame(
            [
                ("A", date(2019, 1, 1), date(2020, 6, 22)),
                ("B", date(2020, 6, 22), None),
                ("C", date(2020, 2, 3), date(2020, 2, 3)),
            ],
            schema=MEMBERSHIP,
            orient="row",
        ),
        "sectors": pl.DataFrame(
            [
                ("A", "Tech", date(2020, 3, 1)),
                ("A", "Phones", date(2020, 9, 1)),
                ("B", "Tech", date(2021, 1, 1)),
                ("B", "Phones", date(2022, 1, 1)),
            ],
            schema={"ticker": pl.String, "sector": pl.String, "as_of": pl.Date},
            orient="row",
        ),
        "statements": pl.DataFrame(
            [
                # Counts reflect the split of June (2 for 1) in both snapshots, and one of 3 between them.
                ("A", "A", q1, date(2020, 5, 1), early, 1.0, 0.5, None, 4.0, 200.0),
                ("A", "A", q1, date(2020, 5, 1), late, 1.0, 0.5, None, 4.0, 600.0),  # the same again
                ("A", "A", q2, date(2020, 7, 20), early, 2.0, 0.5, 1.0, 4.0, 210.0),
                ("A", "A", q2, date(2020, 7, 20), late, 2.5, 0.5, 1.0, 4.0, 630.0),  # restated
                (
                    "A",
                    "A",
                    date(2019, 12, 31),
                    date(2020, 3, 1),
                    late,
                    3.0,
                    0.5,
                    None,
                    None,
                    606.0,
                ),  # in the later snapshot only
                ("A", "A_old", q1, date(2020, 5, 1), early, 99.0, 9.0, None, None, 1.0),  # another company
                (
                    "B",
                    "B_old",
                    q1,
                    date(2020, 3, 30),
                    early,
                    5.0,
                    None,
                    None,
                    None,
                    -1.0,
                ),  # published before the period's end
                ("B", "B", q2, date(2020, 7, 20), early, None, None, None, None, None),  # without any figure
            ],
            schema=dict(zip(statements, [pl.String] * 2 + [pl.Date] * 3 + [pl.Float64] * 5, strict=True)),
            orient="row",
        ),
        "filings": pl.DataFrame(
            [
                ("A", q1, date(2020, 5, 5), "10-Q", 1.0, 10.0),
                ("A", q1, date(2020, 5, 5), "10-Q", 0.1, 1.0),  # a subsidiary's
                ("A", q1, date(2020, 6, 5), "10-Q", 1.0, 10.0),  # an amendment that changes nothing
                ("A", q1, date(2020, 7, 5), "10-Q", 1.2, 10.0),
                ("A", q1, date(2020, 5, 6), "10-K", 4.0, 10.0),
                ("A", q1, date(2020, 5, 7), "8-K", 4.0, 10.0),
            ],
            schema=dict(zip(filings, [pl.String, pl.Date, pl.Date, pl.String, pl.Float64, pl.Float64], strict=True)),
            orient="row",
        ),
        "macro": pl.DataFrame(
            [
                ("CPI", date(2020, 2, 1), 1.0),
                ("CPI", date(2020, 3, 1), None),
                ("GDP", date(2020, 1, 1), 2.0),
                ("RATE", date(2020, 1, 2), 3.0),
                ("CLAIMS", date(2020, 1, 4), 4.0),
                ("UNUSED", date(2020, 1, 4), 5.0),
            ],
            schema={"series_id": pl.String, "date": pl.Date, "value": pl.Float64},
            orient="row",
        ),
        "coins": pl.DataFrame(
            [
                ("ETH-USD", date(2020, 6, 19), 30.0),
                ("BTC-USD", date(2020, 6, 20), 101.0),
                ("BTC-USD", date(2020, 6, 19), None),
                ("BTC-USD", date(2020, 6, 18), 100.0),
                ("DOGE-USD", date(2020, 6, 18), 1.0),
                ("DOGE-USD", date(2020, 6, 18), 2.0),
            ],
            schema={"pair": pl.String, "day": pl.Date, "close": pl.Float64},
            orient="row",
        ),
        "indices": pl.DataFrame(
            [
                ("IDX", date(2020, 6, 19), 3_000.0, 2_900.0),
                ("IDX", date(2020, 6, 18), 3_100.0, 3_000.0),
                ("FUND", date(2020, 6, 19), 50.0, None),
                ("FUND", date(2020, 6, 22), 51.0, 51.0),
                ("PCT", date(2020, 6, 19), 0.0, 0.0),
            ],
            schema={"symbol": pl.String, "date": pl.Date, "close": pl.Float64, "adj_close": pl.Float64},
            orient="row",
        ),
    }


Write = Callable[..., FilesSource]


def write_files(parent: Path, kind: str = "parquet", **changed: pl.DataFrame | None) -> FilesSource:
    """The source over the tables written as files of a kind; a table given by name replaces one, None leaves it out."""
    folder = parent / kind
    folder.mkdir(exist_ok=True)
    for name, table in (small_tables() | changed).items():
        if table is not None:
            table.write_parquet(folder / f"{name}.parquet") if kind == "parquet" else table.write_csv(
                folder / f"{name}.csv"
            )
    settings = FilesSettings.model_validate_json(
        FilesSettings.model_validate(SETTINGS).model_dump_json().replace(".parquet", f".{kind}")
    )
    return FilesSource(settings, folder, START)
