"""Companies that changed their symbol, and symbols that passed to another company."""

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
from quant_assets_tests.synthetic_files import SETTINGS, START, THROUGH, every_day, made_bars, small_tables

RENAMED: dict[str, Any] = {
    **SETTINGS,
    "prices": SETTINGS["prices"][:2],
    "renames": [
        {"old": "OLD", "new": "MID", "since": "2020-03-02"},
        {"old": "MID", "new": "NEW", "since": "2020-06-01"},
    ],
}


def _renamed(folder: Path) -> FilesSource:
    """OLD becomes MID in March and NEW in June; it has another owner from September on. One file was collected
    afterwards."""
    early, late = every_day(date(2020, 1, 2), date(2020, 2, 29)), every_day(date(2020, 3, 1), date(2020, 4, 30))
    stranger = made_bars("NEW", early[:3], 99.0, div=0.0, split=0.0)
    raw = [
        made_bars("OLD", early, 1.0, div=0.0, split=0.0),
        made_bars("MID", late, 2.0, div=0.0, split=0.0),
        stranger,
        made_bars("OLD", every_day(date(2020, 9, 1), date(2020, 12, 31)), 50.0, div=0.0, split=0.0),
        # Else the file would be silent for everybody in summer, which is no company's silence.
        made_bars("STAYS", every_day(date(2020, 1, 2), date(2020, 12, 31)), 5.0, div=0.0, split=0.0),
    ]
    pl.concat(raw).write_parquet(folder / "raw.parquet")
    made_bars("NEW", every_day(date(2020, 1, 2), date(2020, 12, 31)), 3.0, source="one").write_parquet(
        folder / "other.parquet"
    )
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
    small_tables()["filings"].clear().extend(
        pl.DataFrame(rows, small_tables()["filings"].schema, orient="row")
    ).write_parquet(tmp_path / "filings.parquet")
    small_tables()["statements"].clear().write_parquet(tmp_path / "statements.parquet")
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
    says = (
        "MID was renamed to NWE on 2020-06-01, but raw.parquet, other.parquet have no bars of it; "
        "fix conf/profiles/files.yaml"
    )
    with pytest.raises(SourceError, match=says):
        source.delistings(["MID"], THROUGH)
    assert len(source.delistings(["OLD"], THROUGH)) == 1


@pytest.mark.parametrize(
    ("renames", "message"),
    [
        ([("A", "B", "2020-01-01"), ("A", "C", "2020-01-01")], "'A' is listed twice on the same side"),
        ([("A", "B", "2020-01-01"), ("B", "C", "2019-01-01")], "'B' ends on 2019-01-01, before it began on 2020-01-01"),
    ],
)
def test_renames_that_cannot_be(renames: list[tuple[str, str, str]], message: str) -> None:
    given = [{"old": old, "new": new, "since": since} for old, new, since in renames]
    with pytest.raises(SettingsError, match=message):
        load_settings("files", files={"renames": given})


def test_another_companys_bars_are_not_read(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        **SETTINGS,
        "prices": [dict(SETTINGS["prices"][0], not_the_member={"A": {"last": "2020-06-30"}, "B": {}})],
    }
    small_tables()["raw"].write_parquet(tmp_path / "raw.parquet")
    source = FilesSource(FilesSettings.model_validate(settings), tmp_path, START)
    bars = source.bars(["A", "B", "NA"], START, THROUGH)
    assert bars.group_by("ticker").agg(pl.col("date").min()).sort("ticker").rows() == [
        ("A", date(2020, 7, 1)),
        ("NA", date(2020, 1, 2)),
    ]
    assert source.held(["A", "B"], [date(2020, 1, 2)]).is_empty()
    assert source.delistings(["B"], THROUGH).is_empty()


def test_a_renamed_companys_statements_are_its_own(tmp_path: Path) -> None:
    """Under the new symbol another company reports as long as the old one is in use; from then on it is the company
    itself."""
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
    settings = {
        "renames": [{"old": "OLD", "new": "NEW", "since": "2020-03-02"}],
        "fundamentals": SETTINGS["fundamentals"][1:],
    }

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
