"""Folders, files and mappings that cannot be used are named with the remedy; another process reads the files itself."""

import pickle
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.errors import SettingsError, SourceError
from quant_assets.settings.loading import load_settings
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.files import FilesSource
from quant_assets.sources.files_columns import File
from quant_assets_tests.synthetic_files import ALL, SETTINGS, START, THROUGH, Write, small_tables


def test_a_folder_that_cannot_be_used_is_named_with_the_remedy(tmp_path: Path) -> None:
    settings = FilesSettings.model_validate(SETTINGS)
    for folder, message in (
        (None, "QUANT_DATA_DIR is not set"),
        (tmp_path / "nowhere", "nowhere does not exist"),
        (tmp_path, "is empty"),
    ):
        with pytest.raises(SourceError, match=message) as caught:
            FilesSource(settings, folder, START)
        assert "QUANT_DATA_DIR" in str(caught.value)
        assert "raw.parquet" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        (
            "raw",
            None,
            r"raw\.\w+ is missing; put it there, set QUANT_DATA_DIR .* remove it from conf/profiles/files.yaml",
        ),
        ("raw", lambda t: t.drop("close"), r"raw\.\w+ has no column 'close'; it has ticker, date"),
        ("raw", lambda t: t.drop("div"), r"raw\.\w+ has no column 'div'"),
        ("other", lambda t: t.drop("source"), r"other\.\w+ has no column 'source'"),
        (
            "other",
            lambda t: t.with_columns(source=pl.lit("three")),
            r"other\.\w+ has no bars where \{'source': 'one'\}",
        ),
        ("raw", lambda t: t.with_columns(close=pl.lit("much")), r"raw\.\w+.*close.*fix"),
        ("raw", lambda t: t.with_columns(date=pl.lit("today")), r"raw\.\w+.*date.*fix"),
        (
            "raw",
            lambda t: t.with_columns(ticker=pl.when(pl.col("ticker") != "B").then("ticker")),
            r"raw\.\w+: a row of ticker None has no ticker or no date",
        ),
        ("raw", lambda t: t.clear(), r"raw\.\w+ has no bars"),
    ],
)
def test_price_files_that_cannot_be_used(write: Write, kind: str, table: str, change: Any, message: str) -> None:
    source = write(kind, **{table: None if change is None else change(small_tables()[table])})
    with pytest.raises(SourceError, match=message) as caught:
        source.bars(["A"], START, THROUGH)
    assert "\n" not in str(caught.value)


def test_other_files_that_cannot_be_used(write: Write, tmp_path: Path) -> None:
    tables = small_tables()
    source = write(
        sectors=tables["sectors"].with_columns(sector=pl.lit("Teck")),
        macro=tables["macro"].filter(pl.col("series_id") != "GDP"),
        members=tables["members"].with_columns(pl.col("start_date").cast(pl.String)),
    )
    with pytest.raises(
        SourceError,
        match=r"sectors.parquet: ticker A has the unknown sector 'Teck'; map it in conf/profiles/files.yaml",
    ):
        source.sector_snapshots(THROUGH)
    with pytest.raises(SourceError, match=r"macro.parquet has no series 'GDP'"):
        source.macro(THROUGH)
    with pytest.raises(
        SourceError, match=r"members.parquet: column 'start_date' is String, but start_date needs a date"
    ):
        source.membership(THROUGH)
    (tmp_path / "parquet" / "filings.parquet").write_bytes(b"not a table")
    with pytest.raises(SourceError, match=r"filings.parquet cannot be read: .*fix the file") as caught:
        source.statements(["A"], THROUGH)
    assert "\n" not in str(caught.value)


def test_a_mapping_that_cannot_be_used() -> None:
    with pytest.raises(ValueError, match="'tech' is not a sector"):
        FilesSettings.model_validate({"securities": {"file": "f", "sectors": {"Tech": "tech"}}})
    same = {"provider": "p", "adjustment": "as_traded"}
    with pytest.raises(ValueError, match="provider 'p' is listed twice; give each file its own"):
        FilesSettings.model_validate({"prices": [{"file": "a", **same}, {"file": "b", **same}]})
    with pytest.raises(ValueError, match="needs either frequency, or forms"):
        FilesSettings.model_validate({"fundamentals": [{"file": "f", "provider": "p", "columns": {}}]})
    with pytest.raises(ValueError, match="needs a column for snapshot"):
        FilesSettings.model_validate(
            {
                "fundamentals": [
                    {"file": "f", "provider": "p", "frequency": "annual", "columns": {}, "shares_as_of": "snapshot"}
                ]
            }
        )
    with pytest.raises(SettingsError, match=r"files\.macro"):
        load_settings("files", files={"macro": [{"serie": {}}]})


def test_a_source_that_keeps_its_rows_decodes_a_file_once(write: Write) -> None:
    plain = write()
    settings, folder = FilesSettings.model_validate(SETTINGS), plain._folder
    keeping = FilesSource(settings, folder, START, keep=True)
    bars = plain.bars(ALL, START, THROUGH)
    assert_frame_equal(keeping.bars(ALL, START, THROUGH), bars)
    write(raw=small_tables()["raw"].with_columns(pl.col("open", "high", "low", "close") * 2.0))
    assert not plain.bars(ALL, START, THROUGH).equals(bars)
    asked = []

    def rows(file: File, given: pl.LazyFrame) -> pl.LazyFrame:
        asked.append(file.file)
        return given.filter(pl.col("ticker") != "B")

    altered = keeping.altered(rows, START)
    assert_frame_equal(altered.bars(ALL, START, THROUGH), bars.filter(pl.col("ticker") != "B"))
    assert set(asked) == {"raw.parquet", "other.parquet"}
    assert_frame_equal(keeping.altered(None, START).bars(ALL, START, THROUGH), bars)


def test_rows_of_a_parquet_file_are_counted_as_where_leaves_them(tmp_path: Path) -> None:
    kinds = pl.Series(["x", "y", "y"])
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    pl.DataFrame({"date": [date(2020, 1, 2)] * 3, "kind": kinds}).with_columns(
        **{name: pl.lit(value) for name, value in prices.items()}
    ).write_parquet(tmp_path / "p.parquet")
    entry = {"file": "p.parquet", "provider": "p", "adjustment": "as_traded", "read": {"ticker": "AAAA"}}
    settings = FilesSettings.model_validate({"prices": [{**entry, "where": {"kind": "x"}}]})
    source = FilesSource(settings, tmp_path, date(2020, 1, 1))
    assert len(source.bars(["AAAA"], date(2020, 1, 1), date(2020, 12, 31))) == 1
    assert [(each.rows, each.read) for each in source.told()] == [(1, 1)]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_source_that_is_handed_to_another_process_takes_along_nothing_that_it_read(
    write: Write, tmp_path: Path, kind: str
) -> None:
    given = write(kind).keeping()
    before = pickle.dumps(given)
    answers = given.bars(ALL, START, THROUGH), given.statements(ALL, THROUGH), given.delistings(ALL, THROUGH)
    assert pickle.dumps(given) == before
    there = deepcopy(given)  # by the same state
    found = there.bars(ALL, START, THROUGH), there.statements(ALL, THROUGH), there.delistings(ALL, THROUGH)
    for one, other in zip(answers, found, strict=True):
        assert_frame_equal(one, other)
    (tmp_path / kind / f"raw.{kind}").unlink()
    assert len(given.bars(ALL, START, THROUGH)) == len(answers[0])  # it keeps what it has decoded
    with pytest.raises(SourceError, match=r"raw.* is missing"):
        deepcopy(given).bars(ALL, START, THROUGH)
