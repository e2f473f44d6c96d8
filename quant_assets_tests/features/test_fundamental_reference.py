"""Qlib's example of point-in-time data through the features: what a session sees of a company whose figures were
restated."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.features.fundamental import fundamental
from quant_assets.market.calendar import first_session_from, sessions
from quant_assets.settings.domain import FundamentalSettings

DAYS = sessions(date(2007, 1, 3), date(2020, 12, 31))


@pytest.fixture(scope="module")
def published(shared_data: Path) -> list[tuple[date, int, float]]:
    """Session of publication, year and quarter, value; in the order of publication."""
    rows = pl.read_csv(
        shared_data / "reference" / "qlib_pit.csv", schema_overrides={"publish_date": pl.String, "period": pl.Int64}
    )
    rows = rows.with_columns(pl.col("publish_date").str.to_date("%Y%m%d")).sort("publish_date", maintain_order=True)
    return [
        (first_session_from(day), period, value)
        for day, period, value in rows.select("publish_date", "period", "value").iter_rows()
    ]


@pytest.fixture(scope="module")
def seen(published: list[tuple[date, int, float]], statement, as_fundamentals) -> dict[date, float | None]:
    """Debt to equity at each session where every statement has the published value as debt and 1 as equity."""
    rows = []
    for day, period, value in published:
        end = pl.select(pl.date(period // 100, 3 * (period % 100), 1).dt.month_end()).item()
        rows.append(statement(end, day, total_debt=value, total_equity=1.0))
    prices = pl.DataFrame({"date": pl.Series(DAYS, dtype=pl.Date)}).select(
        pl.lit("A").alias("ticker"), "date", close_unadjusted=pl.lit(50.0), split_factor=pl.lit(1.0)
    )
    keys = prices.select("ticker", "date")
    result = fundamental(keys, prices, as_fundamentals(rows), FundamentalSettings(), DAYS[0].item(), DAYS[-1].item())
    return dict(result.select("date", "debt_to_equity").iter_rows())


@pytest.mark.parametrize(
    ("day", "value"),
    [
        (date(2008, 3, 12), 0.3479),
        (date(2008, 3, 13), 0.395989),
        (date(2015, 4, 21), 0.078494),
        (date(2019, 7, 15), 0.0),  # published on a Saturday
        (date(2019, 7, 17), 0.0),
        (date(2019, 7, 18), 0.175322),
    ],
)
def test_the_known_answers(seen: dict[date, float | None], day: date, value: float) -> None:
    assert seen[day] == pytest.approx(value, abs=1e-9)


def test_every_session_sees_the_newest_period_in_its_last_version(published, seen: dict[date, float | None]) -> None:
    expected: dict[date, float | None] = {}
    for day in DAYS.tolist():
        versions = {
            period: value for known, period, value in published if known <= day
        }  # later versions replace earlier ones
        expected[day] = versions[max(versions)] if versions else None
    assert None in expected.values()
    assert seen == expected
