"""What the files provider answers: bars, membership, snapshots, delistings."""

from datetime import date
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.base import BARS, DELISTINGS, MACRO, MEMBERSHIP, SECTOR_SNAPSHOTS, STATEMENTS
from quant_assets.sources.files import FilesSource
from quant_assets_tests.synthetic_files import ALL, SETTINGS, START, THROUGH, Write, every_day, made_bars, small_tables


def test_bars_come_as_given_with_precedence(write: Write) -> None:
    bars = write().bars(["A", "B"], date(2020, 1, 30), date(2020, 6, 2))
    assert bars.schema == BARS
    assert_frame_equal(bars, bars.sort("ticker", "date", "precedence", maintain_order=True))
    assert bars.filter(pl.col("ticker") == "B").select("date", "provider", "precedence", "close").rows() == [
        (date(2020, 1, 30), "raw", 0, 20.0),
        (date(2020, 1, 31), "raw", 0, 20.0),
        *((day, "one", 1, 21.0) for day in every_day(date(2020, 3, 2), date(2020, 3, 6))),
    ]
    split = bars.filter(pl.col("ticker") == "A").filter(pl.col("split_ratio") != 1.0)
    assert split.select("date", "split_ratio", "dividend", "adjustment").rows() == [
        (date(2020, 6, 1), 2.0, 0.25, "as_traded")
    ]
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
    raw = small_tables()["raw"]
    twice = pl.concat([raw, raw.filter(pl.col("ticker") == "B").with_columns(volume=pl.lit(200))])
    bars = write(raw=twice).bars(["B"], START, date(2020, 1, 3))
    assert bars["volume"].to_list() == [100.0, 200.0, 100.0, 200.0]


def test_membership_ends_the_day_before_the_end_date(write: Write) -> None:
    source = write()
    assert source.membership(THROUGH).rows() == [
        ("A", date(2019, 1, 1), date(2020, 6, 21)),
        ("B", date(2020, 6, 22), None),
    ]
    assert source.membership(date(2020, 6, 20)).rows() == [("A", date(2019, 1, 1), None)]
    assert source.membership(THROUGH).schema == MEMBERSHIP


def test_snapshots_are_shown_once_known_and_the_first_one_always(write: Write) -> None:
    source = write()
    assert source.sector_snapshots(date(2020, 8, 31)).rows() == [
        ("A", "it", date(2020, 3, 1), None),
        ("B", "it", date(2021, 1, 1), None),
    ]
    assert source.sector_snapshots(date(2022, 1, 1)).rows()[1] == ("A", "telecoms", date(2020, 9, 1), None)
    assert source.sector_snapshots(THROUGH).schema == SECTOR_SNAPSHOTS


def test_a_ticker_is_delisted_once_enough_sessions_lack_it(write: Write, tmp_path: Path) -> None:
    def after_five() -> FilesSource:
        return FilesSource(
            FilesSettings.model_validate(SETTINGS | {"delisted_after_sessions": 5}), tmp_path / "parquet", START
        )

    write()
    source = after_five()
    expected = [
        # B: not in the raw file from February on. Another file has it in March, but nobody knew that in February.
        ("B", date(2020, 1, 31), date(2020, 2, 7), None, None),
        ("B", date(2020, 1, 31), date(2020, 3, 2), "trades_again", None),
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
    four_lacking = [day for day in every_day(date(2020, 1, 2), date(2020, 1, 31)) if not 13 <= day.day <= 16]
    write(
        other=pl.concat([small_tables()["other"], made_bars("C", four_lacking, 7.0, source="two")]).unique(
            ["ticker", "date"]
        )
    )
    assert after_five().delistings(["C"], THROUGH).is_empty()
    old = [date(1962, 1, 2), date(1989, 12, 29)]
    write(raw=pl.concat([small_tables()["raw"], made_bars("B", old, 1.0, div=0.25, split=0.0)]).sort("ticker", "date"))
    assert after_five().delistings(ALL, THROUGH).rows() == expected  # before the calendar begins, and before 1970


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
