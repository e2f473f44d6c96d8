from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.errors import SettingsError, SourceError
from quant_assets.settings import SECTORS, FilesSettings, load_settings
from quant_assets.sources.base import BARS, DELISTINGS, MACRO, MEMBERSHIP, SECTOR_SNAPSHOTS, STATEMENTS
from quant_assets.sources.files import File, FilesSource

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
    "securities": {"file": "sectors.parquet", "columns": {"known_at": "as_of"}, "sectors": {"Tech": "it", "Phones": "telecoms"}},
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
}


def _bars(ticker: str, days: list[date], close: float, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"ticker": ticker, "date": days}).with_columns(
        *(pl.lit(close, pl.Float32).alias(name) for name in ("open", "high", "low", "close")),
        volume=pl.lit(100),
        **{name: pl.lit(value) for name, value in columns.items()},
    )


def _days(first: date, last: date) -> list[date]:
    return pl.date_range(first, last, "1d", eager=True).to_list()


def _tables() -> dict[str, pl.DataFrame]:
    january, all_year = _days(date(2020, 1, 2), date(2020, 1, 31)), _days(date(2020, 1, 2), date(2020, 12, 31))
    split = pl.col("ticker").eq("A") & pl.col("date").eq(date(2020, 6, 1))
    raw = pl.concat([_bars("A", all_year, 10.5), _bars("B", january, 20.0), _bars("NA", _days(date(2020, 1, 2), date(2020, 12, 28)), 5.0)])
    filings = ["ticker", "period_end", "filed", "form", "sales", "assets"]
    statements = ["ticker", "symbol", "period_end", "published", "seen", "sales", "profit", "short", "long", "count"]
    q1, q2, early, late = date(2020, 3, 31), date(2020, 6, 30), date(2020, 8, 1), date(2020, 11, 1)
    return {
        "raw": raw.with_columns(div=pl.lit(0.25), split=pl.when(split).then(2.0).otherwise(0.0)),
        "other": pl.concat(
            [_bars("B", _days(date(2020, 3, 2), date(2020, 3, 6)), 21.0, source="one"), _bars("C", january[:10], 7.0, source="two")]
        ),
        "members": pl.DataFrame(
            [("A", date(2019, 1, 1), date(2020, 6, 22)), ("B", date(2020, 6, 22), None), ("C", date(2020, 2, 3), date(2020, 2, 3))],
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
                ("A", "A", date(2019, 12, 31), date(2020, 3, 1), late, 3.0, 0.5, None, None, 606.0),  # in the later snapshot only
                ("A", "A_old", q1, date(2020, 5, 1), early, 99.0, 9.0, None, None, 1.0),  # another company
                ("B", "B_old", q1, date(2020, 3, 30), early, 5.0, None, None, None, -1.0),  # published before the period's end
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
    }


Write = Callable[..., FilesSource]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the tables, with changes, and open them."""

    def build(kind: str = "parquet", **changed: pl.DataFrame | None) -> FilesSource:
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        for name, table in (_tables() | changed).items():
            if table is not None:
                table.write_parquet(folder / f"{name}.parquet") if kind == "parquet" else table.write_csv(folder / f"{name}.csv")
        settings = FilesSettings.model_validate_json(
            FilesSettings.model_validate(SETTINGS).model_dump_json().replace(".parquet", f".{kind}")
        )
        return FilesSource(settings, folder, START)

    return build


def test_bars_come_as_given_with_precedence(write: Write) -> None:
    bars = write().bars(["A", "B"], date(2020, 1, 30), date(2020, 6, 2))
    assert bars.schema == BARS
    assert_frame_equal(bars, bars.sort("ticker", "date", "precedence", maintain_order=True))
    assert bars.filter(pl.col("ticker") == "B").select("date", "provider", "precedence", "close").rows() == [
        (date(2020, 1, 30), "raw", 0, 20.0),
        (date(2020, 1, 31), "raw", 0, 20.0),
        *((day, "one", 1, 21.0) for day in _days(date(2020, 3, 2), date(2020, 3, 6))),
    ]
    split = bars.filter(pl.col("ticker") == "A").filter(pl.col("split_ratio") != 1.0)
    assert split.select("date", "split_ratio", "dividend", "adjustment").rows() == [(date(2020, 6, 1), 2.0, 0.25, "as_traded")]
    assert bars.filter(pl.col("provider") == "one").select("dividend", "split_ratio", "adjustment").unique().rows() == [
        (None, None, "total_return")
    ]
    assert write("csv").bars([], START, THROUGH).schema == BARS


def test_csv_gives_what_parquet_gives(write: Write) -> None:
    parquet, csv = write(), write("csv")
    for answer in (
        lambda source: source.bars(ALL, START, THROUGH),
        lambda source: source.membership(THROUGH),
        lambda source: source.sector_snapshots(THROUGH),
        lambda source: source.delistings(ALL, THROUGH),
        lambda source: source.statements(ALL, THROUGH),
        lambda source: source.macro(THROUGH),
    ):
        assert_frame_equal(answer(csv), answer(parquet))
        assert len(answer(csv)) > 0
    assert "NA" in csv.bars(ALL, START, THROUGH)["ticker"]  # a symbol, not a missing value


def test_repeated_rows_keep_the_order_of_the_file(write: Write) -> None:
    raw = _tables()["raw"]
    twice = pl.concat([raw, raw.filter(pl.col("ticker") == "B").with_columns(volume=pl.lit(200))])
    bars = write(raw=twice).bars(["B"], START, date(2020, 1, 3))
    assert bars["volume"].to_list() == [100.0, 200.0, 100.0, 200.0]


def test_membership_ends_the_day_before_the_end_date(write: Write) -> None:
    source = write()
    assert source.membership(THROUGH).rows() == [("A", date(2019, 1, 1), date(2020, 6, 21)), ("B", date(2020, 6, 22), None)]
    assert source.membership(date(2020, 6, 20)).rows() == [("A", date(2019, 1, 1), None)]
    assert source.membership(THROUGH).schema == MEMBERSHIP


def test_snapshots_are_shown_once_known_and_the_first_one_always(write: Write) -> None:
    source = write()
    assert source.sector_snapshots(date(2020, 8, 31)).rows() == [("A", "it", date(2020, 3, 1), None), ("B", "it", date(2021, 1, 1), None)]
    assert source.sector_snapshots(date(2022, 1, 1)).rows()[1] == ("A", "telecoms", date(2020, 9, 1), None)
    assert source.sector_snapshots(THROUGH).schema == SECTOR_SNAPSHOTS


def test_a_ticker_is_delisted_once_enough_sessions_lack_it(write: Write) -> None:
    source = write()
    expected = [
        # B: not in the raw file from February on. Another file has it in March, but nobody knew that in February.
        ("B", date(2020, 1, 31), date(2020, 2, 7), None, None),
        (
            "C",
            date(2020, 1, 10),
            date(2020, 1, 17),
            None,
            None,
        ),  # by complete_through; five sessions after a Friday (the 11th is no session)
    ]
    found = source.delistings(ALL, THROUGH)
    assert found.schema == DELISTINGS
    assert found.rows() == expected  # NA ended three sessions before the file does, A did not end
    assert source.delistings(ALL, date(2020, 1, 16)).is_empty()
    assert source.delistings(ALL, date(2020, 2, 6))["ticker"].to_list() == ["C"]
    assert source.delistings(["A"], THROUGH).is_empty()
    four_lacking = [day for day in _days(date(2020, 1, 2), date(2020, 1, 31)) if not 13 <= day.day <= 16]
    back_in_time = write(other=pl.concat([_tables()["other"], _bars("C", four_lacking, 7.0, source="two")]).unique(["ticker", "date"]))
    assert back_in_time.delistings(["C"], THROUGH).is_empty()
    old = [date(1962, 1, 2), date(1989, 12, 29)]
    with_a_past = write(raw=pl.concat([_tables()["raw"], _bars("B", old, 1.0, div=0.25, split=0.0)]).sort("ticker", "date"))
    assert with_a_past.delistings(ALL, THROUGH).rows() == expected  # before the calendar begins, and before 1970


RENAMED: dict[str, Any] = {
    **SETTINGS,
    "prices": SETTINGS["prices"][:2],
    "renames": [{"old": "OLD", "new": "MID", "since": "2020-03-02"}, {"old": "MID", "new": "NEW", "since": "2020-06-01"}],
}


def _renamed(folder: Path) -> FilesSource:
    """OLD becomes MID in March and NEW in June; it has another owner from September on. One file was collected afterwards."""
    early, late = _days(date(2020, 1, 2), date(2020, 2, 29)), _days(date(2020, 3, 1), date(2020, 4, 30))
    stranger = _bars("NEW", early[:3], 99.0, div=0.0, split=0.0)
    raw = [
        _bars("OLD", early, 1.0, div=0.0, split=0.0),
        _bars("MID", late, 2.0, div=0.0, split=0.0),
        stranger,
        _bars("OLD", _days(date(2020, 9, 1), date(2020, 12, 31)), 50.0, div=0.0, split=0.0),
    ]
    pl.concat(raw).write_parquet(folder / "raw.parquet")
    _bars("NEW", _days(date(2020, 1, 2), date(2020, 12, 31)), 3.0, source="one").write_parquet(folder / "other.parquet")
    return FilesSource(FilesSettings.model_validate(RENAMED), folder, START)


def test_a_renamed_companys_bars_are_found_under_each_of_its_symbols(tmp_path: Path) -> None:
    source = _renamed(tmp_path)
    bars = source.bars(["OLD", "MID", "NEW"], START, THROUGH)

    def spans(ticker: str) -> list[tuple[object, ...]]:
        rows = bars.filter(pl.col("ticker") == ticker).group_by("provider", "close", maintain_order=True)
        return rows.agg(first=pl.col("date").min(), last=pl.col("date").max()).sort("close").rows()

    begun, march, june = date(2020, 1, 2), date(2020, 3, 1), date(2020, 6, 1)
    # A symbol's bars end where its company gave it up; the raw file's NEW of January is a stranger and not its bar.
    assert spans("OLD") == [
        ("raw", 1.0, begun, date(2020, 2, 29)),
        ("raw", 2.0, march, march),  # a day early in the file
        ("one", 3.0, begun, march),
        ("raw", 50.0, date(2020, 9, 1), date(2020, 12, 31)),
    ]
    assert spans("MID") == [
        ("raw", 1.0, begun, date(2020, 2, 29)),
        ("raw", 2.0, march, date(2020, 4, 30)),
        ("one", 3.0, begun, date(2020, 5, 31)),
    ]
    assert spans("NEW")[-1] == ("one", 3.0, begun, date(2020, 12, 31))
    alone = source.bars(["MID"], START, THROUGH)
    assert_frame_equal(alone, bars.filter(pl.col("ticker") == "MID"))
    assert source.held(["OLD", "NEW"], [june, begun]).rows() == [
        ("NEW", begun, "one"),
        ("NEW", begun, "raw"),
        ("NEW", june, "one"),
        ("OLD", begun, "one"),
        ("OLD", begun, "raw"),
    ]


def test_a_renamed_companys_snapshots_are_found_under_each_of_its_symbols(tmp_path: Path) -> None:
    source = _renamed(tmp_path)
    rows = [
        ("MID", "Tech", date(2020, 5, 4)),
        ("NEW", "Phones", date(2020, 7, 1)),
        ("OLD", "Phones", date(2020, 10, 1)),  # its next owner
    ]
    schema = {"ticker": pl.String, "sector": pl.String, "as_of": pl.Date}
    pl.DataFrame(rows, schema, orient="row").write_parquet(tmp_path / "sectors.parquet")
    march, june = date(2020, 3, 2), date(2020, 6, 1)
    assert source.sector_snapshots(THROUGH).rows() == [
        ("MID", "it", date(2020, 5, 4), march),
        ("NEW", "it", date(2020, 5, 4), june),
        ("NEW", "telecoms", date(2020, 7, 1), june),
        ("OLD", "it", date(2020, 5, 4), None),  # the company's first one is assumed for the time before
        ("OLD", "telecoms", date(2020, 10, 1), None),
    ]


def test_a_renamed_companys_statements_are_found_under_each_of_its_symbols(tmp_path: Path) -> None:
    source = _renamed(tmp_path)
    old, new = date(2019, 12, 31), date(2020, 3, 31)
    rows = [
        ("OLD", old, date(2020, 2, 1), "10-K", 1.0, 1.0),
        ("NEW", old, date(2020, 2, 2), "10-K", 9.0, 9.0),  # once is enough
        ("NEW", date(2018, 12, 31), date(2019, 2, 2), "10-K", 2.0, 1.0),
        ("NEW", new, date(2020, 5, 1), "10-Q", 3.0, 1.0),
        ("NEW", new, date(2020, 7, 1), "10-Q", 4.0, 1.0),
        ("OLD", new, date(2020, 10, 1), "10-Q", 50.0, 1.0),
    ]
    _tables()["filings"].clear().extend(pl.DataFrame(rows, _tables()["filings"].schema, orient="row")).write_parquet(
        tmp_path / "filings.parquet"
    )
    _tables()["statements"].clear().write_parquet(tmp_path / "statements.parquet")
    found = source.statements(["OLD", "MID", "NEW"], THROUGH)

    def of(ticker: str) -> list[tuple[object, ...]]:
        return found.filter(pl.col("ticker") == ticker).select("revenue", "version").rows()

    assert of("OLD") == [(2.0, 0), (1.0, 0), (50.0, 0)]
    assert of("MID") == [(2.0, 0), (1.0, 0), (3.0, 0)]
    assert of("NEW") == [(2.0, 0), (1.0, 0), (3.0, 0), (4.0, 1)]


def test_a_rename_ends_the_old_symbol_on_its_day(tmp_path: Path) -> None:
    source = _renamed(tmp_path)
    found = source.delistings(["OLD", "MID", "NEW"], THROUGH)
    assert found.rows() == [
        ("MID", date(2020, 5, 29), date(2020, 6, 1), "renamed", "NEW"),
        ("OLD", date(2020, 2, 28), date(2020, 3, 2), "renamed", "MID"),
    ]
    assert source.delistings(["OLD", "MID"], date(2020, 5, 31))["ticker"].to_list() == ["OLD"]


def test_a_rename_to_a_symbol_without_bars_is_refused(tmp_path: Path) -> None:
    _renamed(tmp_path)
    settings = RENAMED | {"renames": [*RENAMED["renames"][:1], {"old": "MID", "new": "NWE", "since": "2020-06-01"}]}
    source = FilesSource(FilesSettings.model_validate(settings), tmp_path, START)
    assert source.delistings(["MID"], date(2020, 5, 29))["successor"].to_list() == [None]  # the rename is still to come
    says = "MID was renamed to NWE on 2020-06-01, but raw.parquet, other.parquet have no bars of it; mend conf/profiles/files.yaml"
    with pytest.raises(SourceError, match=says):
        source.delistings(["MID"], THROUGH)
    assert len(source.delistings(["OLD"], THROUGH)) == 1


@pytest.mark.parametrize(
    ("renames", "message"),
    [
        ([("A", "B", "2020-01-01"), ("A", "C", "2020-01-01")], "'A' stands twice on the same side"),
        ([("A", "B", "2020-01-01"), ("B", "C", "2019-01-01")], "'B' ends on 2019-01-01, before it began on 2020-01-01"),
    ],
)
def test_renames_that_cannot_be(renames: list[tuple[str, str, str]], message: str) -> None:
    given = [{"old": old, "new": new, "since": since} for old, new, since in renames]
    with pytest.raises(SettingsError, match=message):
        load_settings("files", files={"renames": given})


def test_another_companys_bars_are_not_read(tmp_path: Path) -> None:
    settings: dict[str, Any] = {**SETTINGS, "prices": [dict(SETTINGS["prices"][0], not_the_member={"A": {"last": "2020-06-30"}, "B": {}})]}
    _tables()["raw"].write_parquet(tmp_path / "raw.parquet")
    source = FilesSource(FilesSettings.model_validate(settings), tmp_path, START)
    bars = source.bars(["A", "B", "NA"], START, THROUGH)
    assert bars.group_by("ticker").agg(pl.col("date").min()).sort("ticker").rows() == [("A", date(2020, 7, 1)), ("NA", date(2020, 1, 2))]
    assert source.held(["A", "B"], [date(2020, 1, 2)]).is_empty()
    assert source.delistings(["B"], THROUGH).is_empty()


def test_statements_of_snapshots_and_filings(write: Write) -> None:
    source = write()
    found = source.statements(["A", "B"], THROUGH)
    assert found.schema == STATEMENTS
    columns = ("ticker", "period_end", "published", "version", "revenue", "total_debt", "shares")
    vintages = found.filter(pl.col("provider") == "vintages").select(columns).rows()
    assert vintages == [
        ("A", date(2019, 12, 31), date(2020, 3, 1), 0, 3.0, None, 101.0),  # 606 less 3 for 1 (by the snapshots) less 2 for 1
        ("A", date(2020, 3, 31), date(2020, 5, 1), 0, 1.0, 4.0, 100.0),  # published before the split
        ("A", date(2020, 6, 30), date(2020, 7, 20), 0, 2.0, 5.0, 210.0),  # and after it
        ("A", date(2020, 6, 30), date(2020, 11, 1), 1, 2.5, 5.0, 630.0),  # a restatement is counted as at its own day
        ("B", date(2020, 3, 31), None, 0, 5.0, None, None),
    ]
    filings = found.filter(pl.col("provider") == "filings").select("frequency", "published", "version", "revenue", "total_assets").rows()
    assert filings == [
        ("annual", date(2020, 5, 6), 0, 4.0, 10.0),
        ("quarterly", date(2020, 5, 5), 0, 1.0, 10.0),
        ("quarterly", date(2020, 7, 5), 1, 1.2, 10.0),
    ]
    for cut in (date(2020, 3, 30), date(2020, 5, 5), date(2020, 10, 31)):
        known = pl.coalesce("published", "period_end") <= cut
        assert_frame_equal(source.statements(["A", "B"], cut), found.filter(known))


def test_a_statement_known_from_one_snapshot_does_not_change_with_the_next(write: Write) -> None:
    """The first snapshot has another company under the ticker; the ticker's own comes with the second, with other share counts."""
    table = _tables()["statements"]
    q1, early, late = date(2020, 3, 31), date(2020, 8, 1), date(2020, 11, 1)
    rows = [
        ("B", "B_old", q1, date(2020, 5, 1), early, 5.0, 0.5, None, None, 100.0),
        ("B", "B", q1, date(2020, 5, 2), late, 7.0, 0.5, None, None, 300.0),
        ("B", "B", date(2020, 9, 30), date(2020, 10, 20), late, 8.0, 0.5, None, None, 303.0),
        ("B", "B_old", q1, date(2020, 5, 1), date(2020, 12, 1), 6.0, 0.5, None, None, 100.0),  # alone again, and no restatement of B's
    ]
    first, both = (pl.DataFrame(rows[:count], schema=table.schema, orient="row") for count in (1, 4))
    shown = [
        write(statements=frame).statements(["B"], THROUGH).select("published", "version", "revenue", "shares") for frame in (first, both)
    ]
    assert shown[0].rows() == [(date(2020, 5, 1), 0, 5.0, 100.0)]
    # The other company's count is no measure of a split.
    assert shown[1].rows() == [*shown[0].rows(), (late, 1, 7.0, 300.0), (date(2020, 10, 20), 0, 8.0, 303.0)]


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        # Half empty until the whole one is published; the half that comes once more says nothing.
        (
            [("A", 5, None, 7.0), ("A", 9, 2.0, 8.0), ("A", 10, None, 9.0)],
            [(5, None, 7.0), (9, 2.0, 8.0)],
        ),
        # One as good as the first.
        ([("A", 5, 0.1, 0.2), ("A", 9, 2.0, 8.0)], [(5, 0.1, 0.2)]),
        # Another company counts until the ticker's own is heard of, however large it is.
        ([("A_old", 5, 90.0, 99.0), ("A", 9, 2.0, 8.0), ("A_old", 10, 91.0, 99.0)], [(5, 90.0, 99.0), (9, 2.0, 8.0)]),
    ],
    ids=["half empty", "as good", "another company"],
)
def test_of_several_statements_of_a_period_the_best_of_those_published_counts(
    write: Write, rows: list[tuple[str, int, float | None, float]], shown: list[tuple[int, float | None, float]]
) -> None:
    def read(through: int) -> pl.DataFrame:
        """What is known of statements that were published by a day of May."""
        given = [
            ("A", company, date(2020, 3, 31), date(2020, 5, day), date(2020, 8, 1), sales, sales, None, long, 7.0)
            for company, day, sales, long in rows
            if day <= through
        ]
        source = write(statements=pl.DataFrame(given, schema=_tables()["statements"].schema, orient="row"))
        return source.statements(["A"], THROUGH).filter(pl.col("provider") == "vintages")

    known = read(31)
    assert known.select("published", "version", "revenue", "total_debt").rows() == [
        (date(2020, 5, day), version, sales, long) for version, (day, sales, long) in enumerate(shown)
    ]
    for day in range(5, 12):
        assert_frame_equal(read(day), known.filter(pl.col("published") <= date(2020, 5, day)))


def test_a_renamed_companys_statements_are_its_own(tmp_path: Path) -> None:
    """Under the new symbol another company reports as long as the old one is in use; from then on it is the company itself."""
    rows = [
        ("NEW", date(2019, 9, 30), date(2019, 11, 4), 90.0),  # nothing of OLD has come yet
        ("OLD", date(2019, 9, 30), date(2019, 11, 8), 1.0),
        ("NEW", date(2019, 12, 31), date(2020, 2, 3), 91.0),
        ("OLD", date(2019, 12, 31), date(2020, 2, 7), 2.0),
        ("NEW", date(2020, 1, 31), date(2020, 2, 5), 92.0),  # a period that OLD does not have
        ("NEW", date(2020, 3, 31), date(2020, 5, 5), 3.0),
    ]
    schema = {"ticker": pl.String, "period_end": pl.Date, "filed": pl.Date, "sales": pl.Float64}
    table = pl.DataFrame(rows, schema, orient="row").with_columns(form=pl.lit("10-Q"), assets=pl.lit(1.0))
    settings = {"renames": [{"old": "OLD", "new": "NEW", "since": "2020-03-02"}], "fundamentals": SETTINGS["fundamentals"][1:]}

    def read(through: date) -> pl.DataFrame:
        table.filter(pl.col("filed") <= through).write_parquet(tmp_path / "filings.parquet")
        return FilesSource(FilesSettings.model_validate(settings), tmp_path, START).statements(["OLD", "NEW"], THROUGH)

    known = read(THROUGH)
    columns = ("published", "version", "revenue")
    before = [(date(2019, 11, 4), 0, 90.0), (date(2019, 11, 8), 1, 1.0), (date(2020, 2, 7), 0, 2.0)]
    assert known.filter(pl.col("ticker") == "OLD").select(columns).rows() == before
    assert known.filter(pl.col("ticker") == "NEW").select(columns).rows() == [*before, (date(2020, 5, 5), 0, 3.0)]
    for day in table["filed"]:
        assert_frame_equal(read(day), known.filter(pl.col("published") <= day))


def test_a_source_that_keeps_its_rows_decodes_a_file_once(write: Write) -> None:
    plain = write()
    settings, folder = FilesSettings.model_validate(SETTINGS), plain._folder
    keeping = FilesSource(settings, folder, START, keep=True)
    bars = plain.bars(ALL, START, THROUGH)
    assert_frame_equal(keeping.bars(ALL, START, THROUGH), bars)
    write(raw=_tables()["raw"].with_columns(pl.col("close") * 2.0))
    assert not plain.bars(ALL, START, THROUGH).equals(bars)
    asked = []

    def rows(file: File, given: pl.LazyFrame) -> pl.LazyFrame:
        asked.append(file.file)
        return given.filter(pl.col("ticker") != "B")

    altered = keeping.altered(rows, START)
    assert_frame_equal(altered.bars(ALL, START, THROUGH), bars.filter(pl.col("ticker") != "B"))
    assert set(asked) == {"raw.parquet", "other.parquet"}
    assert_frame_equal(keeping.altered(None, START).bars(ALL, START, THROUGH), bars)


def test_a_split_in_a_hole_of_the_better_file_stays_when_that_goes_on(tmp_path: Path) -> None:
    columns = {"split_ratio": "split"}
    prices = [
        {"file": "best.parquet", "provider": "best", "adjustment": "as_traded", "columns": columns},
        {"file": "rest.parquet", "provider": "rest", "adjustment": "total_return", "columns": columns},
    ]
    settings = FilesSettings.model_validate({"prices": prices, "fundamentals": SETTINGS["fundamentals"][:1]})
    split = {date(2020, 1, 15): 3.0, date(2020, 6, 1): 2.0}  # the best file has bars in January, and no split then
    days = _days(date(2020, 1, 2), date(2020, 12, 31))
    rest = _bars("A", days, 10.0).with_columns(split=pl.col("date").replace_strict(split, default=1.0))
    rest.write_parquet(tmp_path / "rest.parquet")
    row = ("A", "A", date(2019, 12, 31), date(2020, 1, 10), date(2020, 8, 1), 1.0, 0.5, None, None, 200.0)
    pl.DataFrame([row], schema=_tables()["statements"].schema, orient="row").write_parquet(tmp_path / "statements.parquet")
    for best in (days[:30], days[:30] + days[-30:]):
        _bars("A", best, 10.0, split=1.0).write_parquet(tmp_path / "best.parquet")
        assert FilesSource(settings, tmp_path, START).statements(["A"], THROUGH)["shares"].to_list() == [100.0]


def test_macro_lags_count_from_the_end_of_the_period(write: Write) -> None:
    source = write()
    found = source.macro(THROUGH)
    assert found.schema == MACRO
    assert found.select("series_id", "lag_days").rows() == [("CLAIMS", 5), ("CPI", 28 + 20), ("GDP", 90 + 30), ("RATE", 1)]
    assert source.macro(date(2020, 3, 19))["series_id"].to_list() == ["CLAIMS", "RATE"]
    assert source.macro(date(2020, 3, 20))["series_id"].to_list() == ["CLAIMS", "CPI", "RATE"]


def test_vintages_count_from_the_end_of_their_quarter_and_only_where_the_value_changes(tmp_path: Path) -> None:
    rows = [
        (date(2020, 1, 1), date(2020, 4, 1), 1.0),
        (date(2020, 1, 1), date(2020, 7, 1), 1.0),
        (date(2020, 1, 1), date(2020, 10, 1), 1.5),
        (date(2020, 4, 1), date(2020, 7, 1), 2.0),
    ]
    table = pl.DataFrame(rows, schema=["period", "vintage", "value"], orient="row").with_columns(series_id=pl.lit("GDP"))
    table.write_parquet(tmp_path / "vintages.parquet")
    file = {
        "file": "vintages.parquet",
        "columns": {"released": "vintage"},
        "vintage": "quarterly",
        "series": {"GDP": {"frequency": "quarterly", "lag_days": 0}},
    }
    source = FilesSource(FilesSettings.model_validate({"macro": [file]}), tmp_path, START)
    kept = [
        (date(2020, 1, 1), date(2020, 6, 30), 1.0),
        (date(2020, 1, 1), date(2020, 12, 31), 1.5),
        (date(2020, 4, 1), date(2020, 9, 30), 2.0),
    ]
    assert source.macro(date(2020, 12, 31)).select("period", "released", "value").rows() == kept
    assert source.macro(date(2020, 12, 30)).select("period", "released", "value").rows() == [kept[0], kept[2]]


def test_a_source_without_files_is_empty(tmp_path: Path) -> None:
    (tmp_path / "anything").touch()
    source = FilesSource(FilesSettings(), tmp_path, START)
    for frame, schema in (
        (source.bars(["A"], START, THROUGH), BARS),
        (source.membership(THROUGH), MEMBERSHIP),
        (source.sector_snapshots(THROUGH), SECTOR_SNAPSHOTS),
        (source.delistings(["A"], THROUGH), DELISTINGS),
        (source.statements(["A"], THROUGH), STATEMENTS),
        (source.macro(THROUGH), MACRO),
    ):
        assert frame.is_empty()
        assert frame.schema == schema


def test_a_folder_that_cannot_be_used_is_named_with_the_remedy(tmp_path: Path) -> None:
    settings = FilesSettings.model_validate(SETTINGS)
    for folder, message in ((None, "QUANT_DATA_DIR is not set"), (tmp_path / "nowhere", "nowhere does not exist"), (tmp_path, "is empty")):
        with pytest.raises(SourceError, match=message) as caught:
            FilesSource(settings, folder, START)
        assert "QUANT_DATA_DIR" in str(caught.value)
        assert "raw.parquet" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("raw", None, r"raw\.\w+ is missing; put it there, set QUANT_DATA_DIR .* remove it from conf/profiles/files.yaml"),
        ("raw", lambda t: t.drop("close"), r"raw\.\w+ has no column 'close'; it has ticker, date"),
        ("raw", lambda t: t.drop("div"), r"raw\.\w+ has no column 'div'"),
        ("other", lambda t: t.drop("source"), r"other\.\w+ has no column 'source'"),
        ("other", lambda t: t.with_columns(source=pl.lit("three")), r"other\.\w+ has no bars where \{'source': 'one'\}"),
        ("raw", lambda t: t.with_columns(close=pl.lit("much")), r"raw\.\w+.*close.*mend"),
        ("raw", lambda t: t.with_columns(date=pl.lit("today")), r"raw\.\w+.*date.*mend"),
        (
            "raw",
            lambda t: t.with_columns(ticker=pl.when(pl.col("ticker") != "B").then("ticker")),
            r"raw\.\w+: a row of ticker None has no ticker or no date",
        ),
        ("raw", lambda t: t.clear(), r"raw\.\w+ has no bars"),
    ],
)
def test_price_files_that_cannot_be_used(write: Write, kind: str, table: str, change: Any, message: str) -> None:
    source = write(kind, **{table: None if change is None else change(_tables()[table])})
    with pytest.raises(SourceError, match=message) as caught:
        source.bars(["A"], START, THROUGH)
    assert "\n" not in str(caught.value)


def test_other_files_that_cannot_be_used(write: Write, tmp_path: Path) -> None:
    tables = _tables()
    source = write(
        sectors=tables["sectors"].with_columns(sector=pl.lit("Teck")),
        macro=tables["macro"].filter(pl.col("series_id") != "GDP"),
        members=tables["members"].with_columns(pl.col("start_date").cast(pl.String)),
    )
    with pytest.raises(SourceError, match=r"sectors.parquet: ticker A has the unknown sector 'Teck'; map it in conf/profiles/files.yaml"):
        source.sector_snapshots(THROUGH)
    with pytest.raises(SourceError, match=r"macro.parquet has no series 'GDP'"):
        source.macro(THROUGH)
    with pytest.raises(SourceError, match=r"members.parquet: column 'start_date' is String, but start_date needs a date"):
        source.membership(THROUGH)
    (tmp_path / "parquet" / "filings.parquet").write_bytes(b"not a table")
    with pytest.raises(SourceError, match=r"filings.parquet cannot be read: .*mend the file") as caught:
        source.statements(["A"], THROUGH)
    assert "\n" not in str(caught.value)


def test_a_mapping_that_cannot_be_used() -> None:
    with pytest.raises(ValueError, match="'tech' is not a sector"):
        FilesSettings.model_validate({"securities": {"file": "f", "sectors": {"Tech": "tech"}}})
    same = {"provider": "p", "adjustment": "as_traded"}
    with pytest.raises(ValueError, match="provider 'p' stands twice; give each file its own"):
        FilesSettings.model_validate({"prices": [{"file": "a", **same}, {"file": "b", **same}]})
    with pytest.raises(ValueError, match="needs either frequency, or forms"):
        FilesSettings.model_validate({"fundamentals": [{"file": "f", "provider": "p", "columns": {}}]})
    with pytest.raises(ValueError, match="needs a column for snapshot"):
        FilesSettings.model_validate(
            {"fundamentals": [{"file": "f", "provider": "p", "frequency": "annual", "columns": {}, "shares_as_of": "snapshot"}]}
        )
    with pytest.raises(SettingsError, match=r"files\.macro"):
        load_settings("files", files={"macro": [{"serie": {}}]})


# --- The real files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(shared_data: Path) -> FilesSource:
    settings = load_settings("files", data_dir=shared_data)
    return FilesSource(settings.files, shared_data, date(2000, 1, 1))


def test_the_profile(shared_data: Path) -> None:
    settings = load_settings("files", data_dir=shared_data)
    assert (settings.partitions.start, settings.partitions.end, settings.as_of) == ("2000-01", "2025-10", date(2025, 10, 7))
    assert settings.files.securities is not None
    assert set(settings.files.securities.sectors.values()) == set(SECTORS)


def test_real_delistings(real: FilesSource) -> None:
    through = date(2025, 10, 7)
    # VAR ends three sessions before its file does, WFM with its file, TWTR with the raw file (while it traded on); DTV came back in 2016.
    asked = ["EMC", "LVLT", "LLTC", "VAR", "WFM", "TWTR", "DTV", "AAPL"]
    assert real.delistings(asked, through).rows() == [
        ("DTV", date(2015, 7, 24), date(2015, 7, 31), None, None),
        ("EMC", date(2016, 9, 6), date(2016, 9, 13), None, None),
        ("LLTC", date(2017, 3, 10), date(2017, 3, 17), None, None),
        ("LVLT", date(2017, 10, 31), date(2017, 11, 7), None, None),
    ]
    assert real.delistings(asked, date(2016, 9, 12))["ticker"].to_list() == ["DTV"]
    assert real.delistings(asked, date(2016, 9, 13))["ticker"].to_list() == ["DTV", "EMC"]


def test_real_renames_agree_with_the_bars_and_the_membership(real: FilesSource, shared_data: Path) -> None:
    renames = load_settings("files", data_dir=shared_data).files.renames
    assert len(renames) == 28
    membership = pl.read_parquet(shared_data / "sp500_membership.parquet")
    columns = {"prices_sp500_raw": "adj_close", "prices_sp500_adjusted": "close", "prices_former_members": "close"}
    returns = pl.concat(
        pl.scan_parquet(shared_data / f"{name}.parquet")
        .filter(pl.col("ticker").is_in([symbol for each in renames for symbol in (each.old, each.new)]))
        .sort("ticker", "date")
        .select("ticker", "date", file=pl.lit(name), change=(pl.col(close) / pl.col(close).shift() - 1.0).over("ticker"))
        for name, close in columns.items()
    ).collect()
    assert [each.old for each in renames[25:]] == ["VIAC", "PARA", "CDAY"]
    for each in renames[:25]:
        assert each.since in membership.filter(pl.col("ticker") == each.old)["end_date"]
        assert each.since in membership.filter(pl.col("ticker") == each.new)["start_date"]
        old, new = (returns.filter(pl.col("ticker") == symbol, pl.col("date") < each.since) for symbol in (each.old, each.new))
        both = old.join(new, on="date").filter(pl.col("file") != pl.col("file_right"))
        agree = ((both["change"] - both["change_right"]).abs() < 0.002).mean()
        assert len(both) >= 150, each
        assert agree >= 0.98, each  # type: ignore[operator]


def test_real_renames_without_bars_of_both_symbols(real: FilesSource, shared_data: Path) -> None:
    """What stands for them in the settings' comment, and that members get their bars by them."""
    names = ["prices_sp500_raw", "prices_sp500_adjusted"]
    bars = [pl.read_parquet(shared_data / f"{name}.parquet").filter(pl.col("ticker").is_in(["VIAC", "PSKY", "DAY"])) for name in names]
    change = [
        each.sort("date").select("date", change=pl.col(close) / pl.col(close).shift() - 1.0).drop_nulls()
        for each, close in (
            (bars[0].filter(pl.col("ticker") == "VIAC"), "adj_close"),
            (bars[1].filter(pl.col("ticker") == "PSKY"), "close"),
        )
    ]
    both = change[0].join(change[1], on="date")
    assert len(both) == 3845
    assert ((both["change"] - both["change_right"]).abs() < 0.002).mean() > 0.99  # type: ignore[operator]
    assert bars[1].filter(pl.col("ticker") == "DAY")["date"].min() == date(2018, 4, 26)
    members = pl.read_parquet(shared_data / "sp500_membership.parquet")
    spans = members.filter(pl.col("ticker").is_in(["VIAC", "PARA", "CDAY", "DAY"])).select("ticker", "start_date", "end_date")
    assert sorted(spans.rows()) == [
        ("CDAY", date(2021, 9, 20), date(2024, 2, 1)),
        ("DAY", date(2024, 2, 1), None),
        ("PARA", date(2022, 2, 17), None),
        ("VIAC", date(2019, 12, 5), date(2022, 2, 17)),
    ]
    added = pl.read_parquet(shared_data / "securities.parquet").filter(pl.col("ticker") == "DAY")["date_added"].cast(pl.String)
    assert added.item().startswith("2021-09-20")
    given = real.bars(["VIAC", "PARA", "CDAY"], date(2021, 9, 20), date(2025, 10, 7))
    spans = given.group_by("ticker").agg(first=pl.col("date").min(), last=pl.col("date").max())
    assert sorted(spans.rows()) == [
        ("CDAY", date(2021, 9, 20), date(2024, 1, 31)),
        ("PARA", date(2021, 9, 20), date(2025, 8, 6)),
        ("VIAC", date(2021, 9, 20), date(2022, 2, 16)),
    ]


def test_real_statements(real: FilesSource, shared_data: Path) -> None:
    simfin = [shared_data / f"fundamentals_simfin_{name}.parquet" for name in ("annual", "quarterly")]
    everyone = pl.concat(pl.read_parquet(file, columns=["ticker"]) for file in simfin)["ticker"].unique().to_list()
    found = real.statements(everyone, date(2026, 12, 31))
    key = ["ticker", "period_end", "frequency", "provider"]
    assert not found.select(*key, "version").is_duplicated().any()
    assert (found["published"] > found["period_end"]).drop_nulls().all()
    first, second = (found.filter(pl.col("version") == version) for version in (0, 1))
    # Known by the later download, not by another statement of the same one.
    both = first.join(second.filter(pl.col("published").is_in([date(2021, 4, 3), date(2026, 4, 10)])), on=key, suffix="_later")
    # The README counts 28 and 56, 34 and 9, 20 and 27 by fiscal year; two labels of one period make the small differences.
    for frequency, counts in (("quarterly", (28, 34, 20)), ("annual", (57, 9, 27))):
        changed = both.filter((pl.col("frequency") == frequency) & (pl.col("provider") == "simfin"))
        for figure, count in zip(("revenue", "net_income", "total_equity"), counts, strict=True):
            assert changed.filter(pl.col(figure).ne_missing(pl.col(f"{figure}_later"))).height == count
    # Share counts as reported at the time, from files that had applied every split up to 2020, 2025 and 2026.
    reported = {
        ("AAPL", date(2012, 9, 30)): 945.355e6,
        ("AAPL", date(2015, 9, 30)): 5793.069e6,
        ("NVDA", date(2020, 1, 31)): 618e6,
        ("TSLA", date(2015, 12, 31)): 128.202e6,
        ("BAX", date(2012, 12, 31)): 556e6,  # the adjusted prices give the spin-off of 2015 as a split of 1.841
    }
    annual = first.filter((pl.col("frequency") == "annual") & (pl.col("provider") == "simfin"))
    for (ticker, end), shares in reported.items():
        given = annual.filter((pl.col("ticker") == ticker) & (pl.col("period_end") == end))["shares"].item()
        assert given == pytest.approx(shares, rel=1e-3)
    # Around spin-offs that the adjusted prices give as splits: SimFin multiplied the counts of GE by both ratios, of EXC (1.402) but for
    # the last period, of K (1.065) some, of MMM (1.196) and DHR (1.128) none.
    quarterly = first.filter((pl.col("frequency") == "quarterly") & (pl.col("provider") == "simfin"))
    for ticker, begin, end, low, high in (
        ("EXC", date(2019, 9, 30), date(2022, 12, 31), 970e6, 981e6),
        ("MMM", date(2019, 9, 30), date(2024, 9, 30), 547e6, 587e6),
        ("DHR", date(2019, 9, 30), date(2024, 9, 30), 698e6, 750e6),
        ("GE", date(2021, 9, 30), date(2022, 9, 30), 1098e6, 1102e6),
        ("GE", date(2023, 3, 31), date(2023, 9, 30), 1096e6, 1100e6),
        ("K", date(2019, 9, 30), date(2024, 6, 30), 341e6, 346e6),
    ):
        counts = quarterly.filter((pl.col("ticker") == ticker) & pl.col("period_end").is_between(begin, end))["shares"]
        assert len(counts) >= 3
        assert counts.is_between(low, high).all(), ticker
    netflix = first.filter((pl.col("ticker") == "NFLX") & (pl.col("period_end") == date(2025, 3, 31)))["shares"].item()
    assert netflix == pytest.approx(436.962e6, rel=1e-3)  # ten times that in the snapshot of 2026, after the split of November 2025


def test_real_filings(real: FilesSource) -> None:
    given = real.statements(["OI", "NRG", "ALXN"], date(2018, 1, 1)).filter(pl.col("provider") == "sec")
    oi = given.filter((pl.col("ticker") == "OI") & (pl.col("period_end") == date(2015, 12, 31)))
    assert oi.select("published", "version", "net_income").rows() == [(date(2016, 2, 16), 0, -7.4e7), (date(2016, 5, 12), 1, 1.35e8)]
    nrg = given.filter((pl.col("ticker") == "NRG") & (pl.col("period_end") == date(2016, 12, 31)))
    assert nrg.select("published", "version", "total_assets").rows() == [(date(2017, 2, 28), 0, 3.0355e10)]  # not NRG Yield's
    alxn = given.filter((pl.col("ticker") == "ALXN") & (pl.col("period_end") == date(2015, 12, 31)))
    assert alxn["version"].to_list() == [0]  # the amendment of January 2017 repeats the figures
