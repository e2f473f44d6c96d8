"""Unexplained moves are decided in one place: the series and price_events mark the same bars."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.market import calendar
from quant_assets.market.bars import CompanyBars, company_bars, sector_bars
from quant_assets.market.universe import panel_tickers
from quant_assets.settings.domain import BarSettings
from quant_assets.settings.providers import DemoSettings
from quant_assets.sources.base import DELISTINGS
from quant_assets.sources.demo import DemoSource
from quant_assets_tests.synthetic_bars import make_bars

KEY = ["ticker", "date", "provider"]
DAYS = calendar.sessions(date(2023, 6, 1), date(2023, 12, 29))
OTHER = {"adjustment": "total_return", "provider": "other", "precedence": 1}


def _company_bars(*bars: pl.DataFrame, days: np.ndarray = DAYS) -> CompanyBars:
    rows = pl.concat(bars).sort("ticker", "date", "precedence", maintain_order=True)
    return company_bars(rows, DELISTINGS.to_frame(), days, BarSettings())


def _agreed(series: pl.DataFrame, events: pl.DataFrame) -> int:
    """The number of marked bars, after a check that both mark the same bars."""
    marked = series.filter("unexplained").select(KEY).sort(KEY)
    assert events.filter("unexplained").select(KEY).equals(marked)
    assert events.filter(pl.col("kind") == "unexplained_move")["unexplained"].all()
    assert set(events.filter("unexplained", kind="unexplained_move")["action"]) <= {"listed"}
    assert not events.select(KEY).is_duplicated().any()
    return len(marked)


def test_what_another_rule_names_is_marked_too() -> None:
    """A rise and the way back, which is a reversal; each move is in the list once."""
    result = _company_bars(make_bars(DAYS[:7], [9.7, 9.8, 35.1, 35.0, 9.9, 9.8, 9.9]))
    assert _agreed(result.series, result.events) == 2
    assert result.events["kind"].to_list() == ["unexplained_move", "reversal"]


@pytest.mark.parametrize(
    ("path", "marked"),
    [
        ([9.8, 30.2, 30.0, 10.4, 10.5], [1, 3]),  # back by less than a factor of three
        ([9.8, 3.1, 3.2, 9.2, 9.3], [1, 3]),
        ([9.8, 30.2, 20.0, 10.4, 10.5], [1, 3]),  # in two steps, the second of which ends where it began
        ([9.8, 30.2, 30.0, 10.4, 18.0, 10.4], [1, 3]),  # what follows a way back is judged anew
        ([9.8, 30.2, 30.0, 15.0, 15.1], [1]),  # halfway back
        ([9.8, 30.2, *[30.0] * 9, 10.4], [1, 11]),
        ([9.8, 30.2, *[30.0] * 10, 10.4], [1]),  # too late
        ([9.8, 29.0, 29.1, 10.4], []),  # no step that was marked
    ],
)
def test_the_way_back_of_a_marked_step_is_marked(path: list[float], marked: list[int]) -> None:
    # Days with a fifth of the dollars, and with five times them: nothing looks like a split.
    volume = pl.Series([1e6 * (25.0 if k % 2 else 1.0) for k in range(len(path))])
    bars = make_bars(DAYS[: len(path)], path, volume=volume)
    for count in range(1, len(path) + 1):  # known at the close
        result = _company_bars(bars[:count])
        places = np.flatnonzero(result.series["unexplained"]).tolist()
        assert places == [place for place in marked if place < count]
        assert _agreed(result.series, result.events) == len(places)


def test_a_way_back_that_another_provider_upholds_is_none() -> None:
    path = [9.8, 9.9, 30.2, 30.0, 10.4, 10.5]
    other = make_bars(DAYS[: len(path)], [9.8, 9.9, None, 30.0, 10.4, 10.5], **OTHER)
    result = _company_bars(make_bars(DAYS[: len(path)], path), other)
    assert result.series.filter("unexplained")["date"].to_list() == [DAYS[2].item()]


def test_a_move_between_two_providers_bars_is_listed() -> None:
    """Each provider's own step is ordinary, the one from bar to bar of the series is not."""
    level = [20.0 + 0.1 * k for k in range(14)]
    raw = make_bars(DAYS[:14], [*level[:9], 76.0, None, *level[11:]])
    other = make_bars(DAYS[:14], [*level[:9], None, *level[10:]], **OTHER)
    result = _company_bars(raw, other)
    assert result.series.filter("unexplained").select("date", "provider").rows() == [
        (DAYS[9].item(), "raw"),
        (DAYS[10].item(), "other"),
    ]
    assert _agreed(result.series, result.events) == 2
    added = result.events.filter(provider="other").row(0, named=True)
    assert added["price_return"] == added["used_return"] == pytest.approx(level[10] / level[8] - 1.0)
    assert (added["kind"], added["action"], added["other_provider"]) == ("unexplained_move", "listed", None)


def test_a_provider_that_the_series_does_not_use_is_not_marked() -> None:
    level = [20.0 + 0.1 * k for k in range(12)]
    raw = make_bars(DAYS[:12], level)
    wrong = make_bars(DAYS[:12], [*level[:9], *(7.3 * price for price in level[9:])], **OTHER)
    result = _company_bars(raw, wrong)
    assert _agreed(result.series, result.events) == 0


def test_they_agree_on_the_whole_demo_market() -> None:
    start, last = date(2018, 1, 1), date(2024, 12, 31)
    source, days = DemoSource(DemoSettings(), start), calendar.sessions(start, last)
    snapshots = source.sector_snapshots(last)
    bars = source.bars(snapshots["ticker"].unique().sort().to_list(), start, last)
    # Every fifth ticker with faults beside those that the demo has.
    place = pl.int_range(pl.len()).over("ticker")
    wrong = pl.col("ticker").rank("dense") % 5 == 0
    factor = pl.when(wrong & (place % 97 == 50)).then(17.3).when(wrong & (place % 211 > 200)).then(0.21).otherwise(1.0)
    bars = bars.with_columns(pl.col("open", "high", "low", "close") * factor)
    result = _company_bars(bars, days=days)
    assert _agreed(result.series, result.events) > 50
    for sector in ("energy", "it"):
        of_sector = sector_bars(result, snapshots, sector, days)
        _agreed(of_sector.ohlcv, of_sector.price_events)


@pytest.mark.slow
@pytest.mark.parametrize("sector", ["healthcare", "energy"])
def test_they_agree_on_real_prices(real, sector: str) -> None:
    last = date(2025, 10, 7)
    bars = real.source.bars(panel_tickers(real.snapshots, sector, last), date(2000, 1, 1), last)
    result = _company_bars(bars, days=real.sessions)
    _agreed(result.series, result.events)
    faulty = bars.with_columns(
        pl.when(pl.int_range(pl.len()) % 9973 == 0)
        .then(pl.col("open", "high", "low", "close") * 6.3)
        .otherwise(pl.col("open", "high", "low", "close"))
    )
    result = _company_bars(faulty, days=real.sessions)
    assert _agreed(result.series, result.events) > 5
