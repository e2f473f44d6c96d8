from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.market import calendar
from quant_assets.market.bars import company_bars, sector_bars
from quant_assets.market.quarantine import judge, refuse_stale
from quant_assets.market.steps import with_steps
from quant_assets.settings.domain import BarSettings, EventSettings

DAYS = calendar.sessions(date(2024, 1, 2), date(2024, 1, 31))
Make = Callable[..., pl.DataFrame]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"open": None}, None),
        ({"open": 0.0}, None),
        ({"open": float("nan")}, None),
        ({"open": float("inf")}, None),
        ({"open": -1.0}, "non_positive_price"),
        ({"open": 40.0}, None),  # left unadjusted
        ({"open": 2.5}, None),
        ({"open": 40.0, "close": 40.0}, "ohlc_violation"),  # it is not the open alone
        ({"open": None, "high": 9.5}, "ohlc_violation"),
        ({"open": 0.0, "low": 0.0}, "non_positive_price"),
        ({"open": 0.0, "volume": None}, "missing_volume"),
        ({"close": float("nan")}, "missing_price"),
        ({"high": float("inf")}, "missing_price"),
        ({"volume": None}, "missing_volume"),
        ({"low": 0.0}, "non_positive_price"),
        ({"low": -1.0}, "non_positive_price"),
        ({"volume": -1.0}, "negative_volume"),
        ({"high": 9.9}, "ohlc_violation"),
        ({"low": 10.1}, "ohlc_violation"),
        ({"open": 12.0}, "ohlc_violation"),
        ({"high": 9.0, "low": 9.5}, "ohlc_violation"),
        ({"high": 10.0 * (1 - 5e-8)}, None),  # rounding of 32-bit prices
        ({"high": 10.0 * (1 - 5e-6)}, "ohlc_violation"),
        ({"high": 101.0}, "decimal_point"),
        ({"low": 0.99}, "decimal_point"),
        ({"low": 1.6}, None),
        ({"volume": 0.0}, None),  # no trade recorded, but a range: not stale
        ({"volume": 0.0, "high": 10.0, "low": 10.0}, "stale_zero_volume"),
        ({"high": 10.0, "low": 10.0}, None),
        ({"date": date(2024, 1, 6)}, "not_a_session"),
        ({"date": date(2024, 1, 6), "close": None}, "not_a_session"),  # the first rule that is broken is the reason
    ],
)
def test_each_rule(make_bars: Make, change: dict[str, object], reason: str | None) -> None:
    bar = make_bars([date(2024, 1, 3)], [10.0]).with_columns(
        pl.lit(value).alias(name) for name, value in change.items()
    )
    assert judge(bar, DAYS)["reason"].to_list() == [reason]


@pytest.mark.parametrize("opened", [None, 0.0, float("nan"), 40.0, 2.5])
def test_a_bar_without_an_open_is_used_without_it_or_refused(make_bars: Make, opened: float | None) -> None:
    bar = make_bars([date(2024, 1, 3)], [10.0]).with_columns(open=pl.lit(opened, pl.Float64))
    used = judge(bar, DAYS, BarSettings())
    assert used.select("reason", "open", "close").rows() == [(None, None, 10.0)]
    refused = judge(bar, DAYS, BarSettings(missing_open="refuse"))
    assert refused["reason"][0] in ("missing_price", "non_positive_price", "ohlc_violation")
    assert refused["open"].equals(bar["open"])
    # One that is refused for something else keeps what was given.
    other = judge(bar.with_columns(volume=-1.0), DAYS, BarSettings())
    assert other["reason"].to_list() == ["negative_volume"]
    assert other["open"].equals(bar["open"])


def test_repeats(make_bars: Make) -> None:
    same = make_bars([date(2024, 1, 3)] * 3, [10.0] * 3)
    conflicting = make_bars([date(2024, 1, 4)] * 2, [10.0, 10.0], volume=[1.0, 2.0])
    rescued = make_bars([date(2024, 1, 5)] * 2, [10.0, 10.0], high=[9.0, 11.0])
    elsewhere = make_bars([date(2024, 1, 3)], [10.0], provider="other", precedence=1)
    judged = judge(pl.concat([same, conflicting, rescued, elsewhere]), DAYS).sort("precedence", "date", "row")
    assert judged["row"].to_list() == [0, 1, 2, 0, 1, 0, 1, 0]
    assert judged["reason"].to_list() == [
        None,
        "duplicate",
        "duplicate",
        "duplicate",
        "duplicate",
        "ohlc_violation",
        None,
        None,
    ]


def test_nothing_is_lost_and_the_order_of_repeats_is_kept(make_bars: Make) -> None:
    rng = np.random.default_rng(1)
    closes = rng.choice([10.0, 11.0, float("nan"), -1.0], 400, p=[0.6, 0.3, 0.05, 0.05]).tolist()
    days = rng.choice(DAYS, 400).tolist()
    bars = make_bars(days, closes, volume=rng.integers(0, 3, 400).astype(float).tolist()).with_columns(
        ticker=pl.Series(rng.choice(["A", "B"], 400))
    )
    judged = judge(bars, DAYS)
    assert judged.select(bars.columns).sort(pl.all()).equals(bars.sort(pl.all()))
    clean, refused = judged.filter(pl.col("reason").is_null()), judged.filter(pl.col("reason").is_not_null())
    assert not clean.select("ticker", "date").is_duplicated().any()
    assert refused.select("ticker", "date", "provider", "row").is_unique().all()
    assert set(refused["reason"]) == {"missing_price", "non_positive_price", "duplicate"}


def test_bars_without_rows(make_bars: Make) -> None:
    judged = judge(make_bars([], []), DAYS)
    assert judged.is_empty()
    assert judged.schema["reason"] == pl.String


def test_the_blemishes_of_the_real_files_are_found(real) -> None:  # type: ignore[no-untyped-def]
    start = date(2000, 1, 1)
    source, days = real.source, calendar.sessions(start, date(2025, 10, 8))

    def refused(tickers: list[str], first: date, last: date) -> pl.DataFrame:
        return judge(source.bars(tickers, first, last), days).filter(pl.col("reason").is_not_null())

    stale = refused(["SW", "AMCR", "ODFL", "HWM", "DECK", "HUBB"], start, date(2025, 10, 7)).filter(
        pl.col("provider") == "yahoo_adjusted"
    )
    assert dict(stale.group_by("ticker").len().iter_rows()) == {
        "SW": 2772,
        "AMCR": 1371,
        "ODFL": 67,
        "DECK": 31,
        "HUBB": 1,
    }  # HWM's 35 have a range
    assert stale.filter(pl.col("reason") == "ohlc_violation").select("ticker", "date").rows() == [
        ("HUBB", date(2021, 5, 5))
    ]

    everyone = source.sector_snapshots(date(2025, 10, 8))["ticker"].unique().to_list()
    provisional = refused(everyone, date(2025, 10, 8), date(2025, 10, 8))
    assert provisional["reason"].to_list() == ["ohlc_violation"] * 28  # the reason for the profile's as_of
    assert len(refused(everyone, date(2025, 10, 7), date(2025, 10, 7))) == 0


def _refused_stale(*bars: pl.DataFrame) -> list[tuple[str, object]]:
    judged = judge(pl.concat(bars), DAYS)
    result = refuse_stale(judged, with_steps(judged), EventSettings())
    assert result.drop("reason").equals(judged.drop("reason"))
    return result.filter(pl.col("reason") == "disputed_stale_close").select("provider", "date").rows()


def test_a_repeated_close_that_another_provider_disputes_is_refused(make_bars: Make) -> None:
    days = DAYS[:5]
    stale = make_bars(days, [10.0, 11.0, 11.0, 14.0, 14.0])
    moves = make_bars(days, [5.0, 5.5, 6.5, 7.0, 7.05], adjustment="total_return", provider="other", precedence=1)
    refused = [("raw", days[2].item())]  # on the last day they are within the tolerance
    assert _refused_stale(stale, moves) == refused
    assert _refused_stale(stale) == []  # nobody knows better
    assert _refused_stale(stale, moves.filter(pl.col("date") != days[1].item())) == []  # nor over the same step
    upholds = make_bars(days, [1.0, 1.1, 1.1, 1.4, 1.4], adjustment="total_return", provider="third", precedence=2)
    assert _refused_stale(stale, moves, upholds) == []
    # The step from the stale close is wrong: it disputes no close that really stayed.
    assert _refused_stale(stale, moves.with_columns(close=pl.Series([5.0, 5.5, 6.5, 6.5, 6.5]))) == refused
    for cut in days:
        assert _refused_stale(*(bars.filter(pl.col("date") <= cut) for bars in (stale, moves))) == [
            row for row in refused if row[1] <= cut.item()
        ]


def test_the_series_is_bridged_by_the_provider_that_moved(real) -> None:  # type: ignore[no-untyped-def]
    """Three banks in 2008 and 2009 whose close was left at the day before's by one vendor; and what is refused
    elsewhere."""
    expected = {("RF", date(2008, 9, 18)): 0.343, ("RF", date(2008, 9, 19)): 0.356, ("FITB", date(2008, 9, 29)): -0.436}
    expected |= {
        ("FITB", date(2008, 9, 30)): 0.306,
        ("AFL", date(2009, 1, 22)): -0.369,
        ("AFL", date(2009, 1, 23)): 0.069,
    }
    tickers = ["AFL", "FITB", "RF"]
    through = date(2010, 12, 31)
    days, bars = calendar.sessions(date(2000, 1, 1), through), real.source.bars(tickers, date(2000, 1, 1), through)
    ended = real.source.delistings(tickers, through)
    panel = sector_bars(company_bars(bars, ended, days, real.settings.bars), real.snapshots, "financials", days)
    refused = panel.quarantine.filter(pl.col("reason") == "disputed_stale_close")
    assert set(refused.select("ticker", "date", "provider").rows()) == {
        (ticker, day, "alpha_vantage")
        for ticker, day in (("RF", date(2008, 9, 18)), ("FITB", date(2008, 9, 29)), ("AFL", date(2009, 1, 22)))
    }
    adjusted = panel.ohlcv.sort("ticker", "date").with_columns(close=pl.col("close") * pl.col("price_factor"))
    returns = adjusted.with_columns(growth=(pl.col("close") / pl.col("close").shift() - 1.0).over("ticker"))
    for (ticker, day), value in expected.items():
        result = returns.filter((pl.col("ticker") == ticker) & (pl.col("date") == day))["growth"].item()
        assert result == pytest.approx(value, abs=1e-3)
    # The disagreement stays on record.
    assert ("RF", date(2008, 9, 18)) in panel.price_disagreements.select("ticker", "date").rows()
    cut = date(2008, 9, 18)
    early = sector_bars(
        company_bars(bars.filter(pl.col("date") <= cut), ended.clear(), days, real.settings.bars),
        real.snapshots,
        "financials",
        days,
    )
    assert_frame_equal(early.ohlcv, panel.ohlcv.filter(pl.col("date") <= cut), check_exact=True)
    assert_frame_equal(early.quarantine, panel.quarantine.filter(pl.col("date") <= cut), check_exact=True)
