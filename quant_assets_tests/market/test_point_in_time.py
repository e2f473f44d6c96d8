from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.market import calendar, macro
from quant_assets.market.point_in_time import known, newest
from quant_assets.settings.loading import load_settings
from quant_assets.sources.files import FilesSource


@pytest.fixture(scope="module")
def roe(shared_data: Path) -> pl.DataFrame:
    """Return on equity of one company as published and restated: Qlib's example of point-in-time data
    (docs/advanced/PIT.rst)."""
    rows = pl.read_csv(
        shared_data / "reference" / "qlib_pit.csv", schema_overrides={"publish_date": pl.String, "period": pl.Int64}
    )
    return rows.select(
        "period", "value", known_at=pl.col("publish_date").str.to_date("%Y%m%d"), ticker=pl.lit("600519")
    )


def _answer(rows: pl.DataFrame, day: date) -> float:
    return newest(rows, ["ticker"], "period", day)["value"].item()


@pytest.mark.parametrize(
    ("day", "value"),
    [
        (date(2008, 3, 12), 0.3479),
        (date(2008, 3, 13), 0.395989),  # restated
        (date(2015, 4, 21), 0.078494),  # two periods are announced on one day: the newer one
        (date(2019, 7, 13), 0.0),  # a wrong figure stands until it is corrected
        (date(2019, 7, 17), 0.0),
        (date(2019, 7, 18), 0.175322),
    ],
)
def test_the_answers_of_qlibs_example(roe: pl.DataFrame, day: date, value: float) -> None:
    assert _answer(roe, day) == pytest.approx(value, abs=1e-9)
    # What becomes known later changes no answer.
    assert _answer(roe.filter(pl.col("known_at") <= day), day) == _answer(roe, day)


def test_the_answer_of_every_day_of_qlibs_example(roe: pl.DataFrame) -> None:
    published = roe.select("known_at", "period", "value").rows()
    days = sorted({day + timedelta(days=shift) for day, _, _ in published for shift in (-1, 0, 1)})[1:]
    for day in days:
        versions = {
            period: value for known_at, period, value in published if known_at <= day
        }  # later versions replace earlier ones
        assert _answer(roe, day) == versions[max(versions)]
    assert [period for day, period, _ in published if day == date(2015, 4, 21)] == [201404, 201501]


def test_nothing_is_known_before_the_first_publication(roe: pl.DataFrame) -> None:
    first = roe["known_at"].min()
    assert newest(roe, ["ticker"], "period", first - timedelta(days=1)).is_empty()  # type: ignore[operator]


def test_a_late_restatement_of_an_old_period_changes_no_newest_one() -> None:
    rows = pl.DataFrame(
        [
            ("A", 1, date(2020, 1, 1), 1.0),
            ("A", 2, date(2020, 4, 1), 2.0),
            ("A", 1, date(2020, 5, 1), 1.5),
            ("B", 1, None, 9.0),
        ],
        schema=["ticker", "period", "known_at", "value"],
        orient="row",
    )
    assert newest(rows, ["ticker"], "period", date(2020, 6, 1))["value"].to_list() == [2.0]
    assert known(rows, ["ticker", "period"], date(2020, 6, 1))["value"].to_list() == [1.5, 2.0]
    assert known(rows, ["ticker", "period"], date(2020, 4, 30))["value"].to_list() == [1.0, 2.0]


@pytest.fixture(scope="module")
def files(shared_data: Path) -> FilesSource:
    return FilesSource(load_settings("files").files, shared_data, date(2000, 1, 1))


@pytest.mark.parametrize(
    ("file", "first", "second", "frequency", "counts"),
    [
        (
            "quarterly",
            date(2025, 8, 8),
            date(2026, 4, 10),
            "quarterly",
            {"revenue": 28, "net_income": 34, "total_equity": 20},
        ),
        (
            "annual",
            date(2020, 10, 13),
            date(2021, 4, 3),
            "annual",
            {"revenue": 57, "net_income": 9, "total_equity": 27},
        ),
    ],
)
def test_both_vintages_of_a_provider_stay_queryable(
    files: FilesSource, shared_data: Path, file: str, first: date, second: date, frequency: str, counts: dict[str, int]
) -> None:
    """The statements of two downloads differ on as many periods as the raw file says, and each can be asked for by its
    day."""
    raw = pl.read_parquet(shared_data / f"fundamentals_simfin_{file}.parquet")
    statements = files.statements(raw["ticker"].unique().to_list(), date(2026, 12, 31))
    rows = statements.filter((pl.col("provider") == "simfin") & (pl.col("frequency") == frequency))
    key = ["ticker", "period_end", "frequency", "provider"]
    dated = rows.with_columns(known_at=pl.coalesce("published", "period_end"))
    early, late = (known(dated, key, day) for day in (second - timedelta(days=1), second))
    both = early.join(late, on=key, suffix="_late")
    own = raw.filter(pl.col("ticker") == pl.col("ticker_source"))
    vintages = own.filter(pl.col("snapshot_date") == first).join(
        own.filter(pl.col("snapshot_date") == second),
        on=["ticker", "fiscal_year", "fiscal_period", "period_end"],
        suffix="_late",
    )
    for name, count in counts.items():
        changed = both.filter(pl.col(name).ne_missing(pl.col(f"{name}_late")))
        expected = vintages.filter(pl.col(name).ne_missing(pl.col(f"{name}_late")))
        compared = ["ticker", "period_end", name, f"{name}_late"]
        # The raw file has two companies more under the symbols KR and TDG, in the later vintage only.
        assert_frame_equal(
            expected.select(compared).filter(~pl.col("ticker").is_in(["KR", "TDG"])),
            changed.select(compared).filter(~pl.col("ticker").is_in(["KR", "TDG"])),
            check_row_order=False,
        )
        assert (
            len(changed) == count
        )  # one more than the data's README on annual revenue: it was null in the first vintage


def test_gdp_as_it_was_estimated(files: FilesSource, shared_data: Path) -> None:
    """2008Q3 was first put at a small fall and later at a deep one; each estimate holds from the end of its vintage's
    quarter."""
    sessions = calendar.sessions(date(2000, 1, 1), date(2025, 10, 7))
    rows = macro.as_known(files.macro(date(2025, 10, 7)), sessions).filter(pl.col("series_id") == "US_REAL_GDP")
    raw = pl.read_parquet(shared_data / "macro_us_gdp_vintages.parquet")

    def growth(day: date) -> float:
        level = known(rows, ["series_id", "period"], day).filter(
            pl.col("period").is_in([date(2008, 4, 1), date(2008, 7, 1)])
        )["value"]
        return level[1] / level[0] - 1

    assert newest(rows, ["series_id"], "period", date(2008, 12, 30))["period"].item() == date(2008, 4, 1)
    assert newest(rows, ["series_id"], "period", date(2008, 12, 31))["period"].item() == date(2008, 7, 1)
    vintage = raw.filter(
        (pl.col("vintage_quarter") == date(2008, 10, 1)) & (pl.col("period") >= date(2008, 4, 1))
    ).sort("period")["value"]
    assert growth(date(2008, 12, 31)) == vintage[1] / vintage[0] - 1
    assert growth(date(2008, 12, 31)) > 2 * growth(date(2025, 1, 2))  # both negative
    # Unchanged estimates are no new rows.
    assert len(rows) < 0.8 * len(raw)
    assert not rows.select("period", "known_at").is_duplicated().any()
