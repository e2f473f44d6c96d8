"""Closes of crypto-currencies of a file: which are read, when each is known, what is refused."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.errors import SourceError
from quant_assets.settings.loading import load_settings
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.base import CRYPTO
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
