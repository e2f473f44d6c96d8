"""Closes of crypto-currencies and indices of a file: which are read, when each is known, what is refused."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.backtest.benchmark import benchmark_rows
from quant_assets.errors import SourceError
from quant_assets.market.calendar import sessions
from quant_assets.settings.loading import load_settings
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.base import CRYPTO, INDICES
from quant_assets.sources.files import FilesSource
from quant_assets_tests.synthetic_files import START, THROUGH, Write, small_tables

LATE = date(2020, 12, 31)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_day_is_known_from_the_next_one_on(write: Write, kind: str) -> None:
    source = write(kind=kind)
    found = source.crypto(LATE)
    assert found.schema == CRYPTO
    assert found.rows() == [
        ("BTC-USD", date(2020, 6, 18), 100.0),
        ("BTC-USD", date(2020, 6, 20), 101.0),
        ("ETH-USD", date(2020, 6, 19), 30.0),
    ]
    assert source.crypto(date(2020, 6, 18)).is_empty()
    assert source.crypto(date(2020, 6, 19)).rows() == found.rows()[:1]


def test_a_day_twice_or_a_close_of_nothing_names_file_symbol_and_day(write: Write) -> None:
    coins = small_tables()["coins"]
    again = coins.filter(pl.col("pair") == "ETH-USD")
    with pytest.raises(
        SourceError, match=r"coins\.parquet: ETH-USD has two bars of 2020-06-19; .*files\.crypto\.not_read"
    ):
        write(coins=pl.concat([coins, again])).crypto(THROUGH)
    others = coins.filter(pl.col("pair") != "ETH-USD")
    with pytest.raises(SourceError, match=r"coins\.parquet: ETH-USD has a close of -1\.0 on 2020-06-19"):
        write(coins=pl.concat([others, again.with_columns(close=-1.0)])).crypto(LATE)


def test_without_an_entry_there_are_none_and_without_its_file_that_is_said(write: Write, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"coins\.parquet is missing"):
        write(coins=None).crypto(LATE)
    source = FilesSource(FilesSettings(), tmp_path / "parquet", START)
    assert source.crypto(LATE).equals(CRYPTO.to_frame())


def test_the_files_of_the_profile_are_read(shared_data: Path) -> None:
    source = FilesSource(load_settings("files").files, shared_data, START)
    found = source.crypto(date(2025, 7, 1))
    spans = found.group_by("ticker").agg(pl.len(), pl.col("date").min().alias("first")).sort("ticker")
    assert spans.rows() == [
        ("BTC-USD", 2747, date(2014, 9, 17)),
        ("BTCUSDT", 2000, date(2020, 1, 1)),
        ("ETHUSDT", 2000, date(2020, 1, 1)),
    ]
    assert len(found.filter(pl.col("date").dt.weekday() > 5)) > 1_500


def test_an_index_is_known_at_its_sessions_close_by_the_column_that_is_named(write: Write) -> None:
    source = write()
    found = source.indices(LATE)
    assert found.schema == INDICES
    assert found.rows() == [
        ("FUND", date(2020, 6, 22), 51.0),
        ("IDX", date(2020, 6, 18), 3_000.0),
        ("IDX", date(2020, 6, 19), 2_900.0),
    ]
    assert source.indices(date(2020, 6, 18)).rows() == found.rows()[1:2]
    zero = small_tables()["indices"].with_columns(adj_close=0.0)
    with pytest.raises(SourceError, match=r"indices\.parquet: FUND has a close of 0\.0 .*files\.indices\.not_read"):
        write(indices=zero).indices(LATE)


def test_the_index_file_of_the_profile_has_every_session_of_its_series(shared_data: Path) -> None:
    source = FilesSource(load_settings("files").files, shared_data, START)
    closes = source.indices(date(2025, 6, 27))
    days = sessions(date(2000, 1, 3), date(2025, 6, 27))
    spx, spy = (benchmark_rows(closes, name, days) for name in ("SPX", "SPY"))
    assert len(spx) == len(days)
    assert spx["index_return"].null_count() == 0
    assert spy["date"][0] == date(2010, 1, 4)
    both = spx.join(spy, on="date", suffix="_fund").drop_nulls()
    # The fund's closes are adjusted for dividends, of about 2 % a year.
    apart = (both["index_return_fund"] - both["index_return"]).mean() * 252  # type: ignore[operator]
    assert 0.01 < apart < 0.03
    with pytest.raises(SourceError, match=r"SPY has no close on 2025-06-30 and 2 more sessions up to 2025-07-02"):
        benchmark_rows(source.indices(date(2025, 7, 2)), "SPY", sessions(date(2025, 6, 2), date(2025, 7, 2)))
