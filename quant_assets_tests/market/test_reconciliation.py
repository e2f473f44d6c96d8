from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.market import calendar
from quant_assets.market.quarantine import judge
from quant_assets.market.reconciliation import COMPARED, by_ticker, compare
from quant_assets.market.steps import with_steps
from quant_assets.settings.domain import EventSettings

Make = Callable[..., pl.DataFrame]
DAYS = calendar.sessions(date(2020, 1, 1), date(2020, 12, 31))
SETTINGS = EventSettings(disagreement=0.02)


def _compare(*bars: pl.DataFrame) -> pl.DataFrame:
    return compare(with_steps(judge(pl.concat(bars), DAYS)), SETTINGS)


def _other(make_bars: Make, closes: list[float | None], **columns: object) -> pl.DataFrame:
    return make_bars(
        DAYS[: len(closes)], closes, **({"adjustment": "total_return", "provider": "other", "precedence": 1} | columns)
    )


def test_returns_of_two_providers_are_held_against_each_other(make_bars: Make) -> None:
    one = make_bars(
        DAYS[:5],
        [100.0, 50.0, 55.0, 55.0, 60.5],
        split_ratio=[1.0, 2.0, 1.0, 1.0, 1.0],
        dividend=[0.0, 0.0, 0.0, 0.0, 1.1],
    )
    other = _other(make_bars, [10.0, 10.0, 11.5, 11.0, 12.32])
    result = _compare(one, other)
    assert result.schema == COMPARED
    assert result["since"].to_list() == DAYS[:4].tolist()
    assert [round(value, 12) for value in result["total_return"]] == [0.0, 0.1, 0.0, 0.12]
    assert result["difference"].round(6).to_list() == [0.0, -0.05, round(-(11.0 / 11.5 - 1.0), 6), 0.0]
    assert result["explanation"].to_list() == [None, "price", "stale_close", None]


def test_a_difference_on_the_day_of_an_event_is_told_apart(make_bars: Make) -> None:
    one = make_bars(DAYS[:3], [100.0, 100.0, 50.0], split_ratio=[1.0, 2.0, 1.0])
    assert _compare(one, _other(make_bars, [10.0, 10.1, 10.2]))["explanation"].to_list() == ["event", "price"]


def test_returns_lead_from_one_common_bar_to_the_next(make_bars: Make) -> None:
    one = make_bars(DAYS[:5], [10.0, 11.0, None, 12.0, 13.0])
    other = _other(make_bars, [20.0, None, 30.0, 24.0, 26.0])
    result = _compare(one, other)
    assert result.select("since", "date").rows() == [(DAYS[0].item(), DAYS[3].item()), (DAYS[3].item(), DAYS[4].item())]
    assert result["difference"].abs().max() < 1e-15


def test_each_pair_of_providers_is_compared(make_bars: Make) -> None:
    third = _other(make_bars, [1.0, 2.0, 2.0], provider="third", precedence=4)
    bars = [make_bars(DAYS[:3], [1.0, 1.1, 1.1]), _other(make_bars, [1.0, 1.1, 1.1]), third]
    result = _compare(*bars)
    assert result.select("provider", "other_provider").unique(maintain_order=True).rows() == [
        ("raw", "other"),
        ("raw", "third"),
        ("other", "third"),
    ]
    assert_frame_equal(_compare(*reversed(bars)), result, check_exact=True)
    assert _compare(bars[0]).is_empty()
    assert _compare(bars[0]).schema == COMPARED


def test_the_summary_counts_and_names_the_worst(make_bars: Make) -> None:
    first = (make_bars(DAYS[:4], [1.0, 1.0, 1.5, 1.0]), _other(make_bars, [1.0, 1.0, 1.0, 1.0]))
    second = tuple(
        bars.with_columns(ticker=pl.lit("B"))
        for bars in (make_bars(DAYS[:2], [1.0, 2.0]), _other(make_bars, [1.0, 1.0]))
    )
    agreed = tuple(
        bars.with_columns(ticker=pl.lit("C"))
        for bars in (make_bars(DAYS[:2], [1.0, 2.0]), _other(make_bars, [1.0, 2.0]))
    )
    summary = by_ticker(_compare(*first, *second, *agreed))
    assert summary.rows() == [
        ("A", "raw", "other", 3, 2, 0.5, DAYS[2].item()),
        ("B", "raw", "other", 1, 1, 1.0, DAYS[1].item()),
    ]


@pytest.fixture(scope="module")
def vendors(shared_data: Path) -> pl.DataFrame:
    """Both vendors' adjusted closes as given, no bar refused."""
    raw = pl.read_parquet(shared_data / "prices_sp500_raw.parquet", columns=["ticker", "date", "adj_close"]).rename(
        {"adj_close": "close"}
    )
    adjusted = pl.read_parquet(shared_data / "prices_sp500_adjusted.parquet", columns=["ticker", "date", "close"])
    both = [
        frame.with_columns(provider=pl.lit(name), precedence=pl.lit(place, pl.Int32))
        for place, (name, frame) in enumerate({"raw": raw, "adjusted": adjusted}.items())
    ]
    absent = {name: pl.lit(None, pl.Float64) for name in ("dividend", "split_ratio")}
    return pl.concat(both).with_columns(
        pl.col("close").cast(pl.Float64),
        **absent,
        adjustment=pl.lit("total_return"),
        reason=pl.lit(None, pl.String),
        row=pl.lit(0, pl.Int32),
    )


def test_the_figures_of_the_real_files(vendors: pl.DataFrame) -> None:
    """726 and 8,232 bars: of simple returns between consecutive common bars of a ticker, by the vendors' own adjusted
    closes."""
    common = vendors.select("ticker", "date").is_duplicated().sum() // 2
    result = compare(with_steps(vendors.sort("ticker", "date", "precedence")), SETTINGS)
    assert common == 1_595_732
    assert result["ticker"].n_unique() == 421
    assert len(result) == common - 421  # no return at a ticker's first common bar
    summary = by_ticker(result)
    assert (summary["disagreements"].sum(), len(summary)) == (726, 133)
    assert (result["difference"].abs() > 0.001).sum() == 8_232
    assert summary.select("ticker", "disagreements").rows()[:3] == [("DD", 374), ("CB", 34), ("CNC", 8)]
    assert summary.row(0, named=True)["worst_date"] == date(2019, 6, 3)
    assert dict(result["explanation"].value_counts().drop_nulls().rows()) == {
        "price": 678,
        "stale_close": 48,
    }  # without events
