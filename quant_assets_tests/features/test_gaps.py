import numpy as np
import pytest
import talib


def test_overnight_and_intraday_make_the_day(compacted, bar_values) -> None:
    _, bars, at = next(compacted(bar_values))
    t = 700
    assert at("overnight_return")[t] == pytest.approx(bars.open[t] / bars.close[t - 1] - 1, rel=1e-12)
    day = (1 + at("overnight_return")[1:]) * (1 + at("intraday_return")[1:]) - 1
    np.testing.assert_allclose(day, bars.close[1:] / bars.close[:-1] - 1, atol=1e-12)
    month = at("overnight_return_20")[t] + at("intraday_return_20")[t]
    assert month == pytest.approx(np.log(bars.close[t] / bars.close[t - 20]), rel=1e-9)
    overnight, intraday = (
        np.log(bars.open[t - 19 : t + 1] / bars.close[t - 20 : t]),
        np.log(bars.close / bars.open)[t - 19 : t + 1],
    )
    share = overnight.var(ddof=1) / (overnight.var(ddof=1) + intraday.var(ddof=1))
    assert at("overnight_variance_share_20")[t] == pytest.approx(share, rel=1e-9)


def test_ranges_by_hand(compacted, bar_values) -> None:
    _, bars, at = next(compacted(bar_values))
    t = 700
    atr = talib.ATR(bars.high, bars.low, bars.close, 14)[t]
    assert at("gap_over_atr_14")[t] == pytest.approx((bars.open[t] - bars.close[t - 1]) / atr, rel=1e-9)
    assert at("range_over_atr_14")[t] == pytest.approx(talib.TRANGE(bars.high, bars.low, bars.close)[t] / atr, rel=1e-9)
    reach = bars.high[t] - bars.low[t]
    assert at("close_location")[t] == pytest.approx((bars.close[t] - bars.low[t]) / reach, rel=1e-12)
    assert at("body_share")[t] == pytest.approx((bars.close[t] - bars.open[t]) / reach, rel=1e-12)


def test_a_gap_over_a_long_halt_is_missing(bar_values, bar_panel) -> None:
    resumed = np.flatnonzero(np.isnan(bar_panel["close"][2]))[-1] + 1
    assert np.isnan(bar_values("overnight_return")[2, resumed])
    assert np.isfinite(bar_values("intraday_return")[2, resumed])
    assert np.isfinite(bar_values("overnight_return")[2, resumed + 1])
