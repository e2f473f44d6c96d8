import numpy as np
import pytest
import talib

from quant_assets.features.core import FEATURES
from quant_assets.windows.declarations import Feature, FeatureSet
from quant_assets.windows.windows import Windows


def test_averages_are_talibs(compacted, bar_values, real_values) -> None:
    for source in (bar_values, real_values):
        for i, bars, at in compacted(source, full=True):
            for window in (5, 10, 20, 50, 100, 200):
                expected = bars.close / talib.SMA(bars.close, window) - 1
                np.testing.assert_allclose(
                    at(f"sma_distance_{window}")[window:], expected[window:], atol=1e-9, err_msg=f"{i} {window}"
                )
            for span in (10, 20):
                expected = bars.close / talib.EMA(bars.close, span) - 1
                np.testing.assert_allclose(at(f"ema_distance_{span}")[span:], expected[span:], atol=1e-9)
            cross = talib.SMA(bars.close, 50) / talib.SMA(bars.close, 200) - 1
            np.testing.assert_allclose(at("sma_cross_50_200")[200:], cross[200:], atol=1e-9)


def test_directional_movement_is_talibs(compacted, bar_values, real_values) -> None:
    """Gaps up to `STALE_SESSIONS` are skipped, as by TA-Lib, which has no calendar."""
    for source in (bar_values, real_values):
        for i, bars, at in compacted(source):
            for name, expected in (
                ("plus_di_14", talib.PLUS_DI(bars.high, bars.low, bars.close, 14)),
                ("minus_di_14", talib.MINUS_DI(bars.high, bars.low, bars.close, 14)),
                ("adx_14", talib.ADX(bars.high, bars.low, bars.close, 14)),
            ):
                defined = np.isfinite(expected)
                np.testing.assert_allclose(
                    at(name)[defined], expected[defined], atol=1e-9, rtol=1e-9, err_msg=f"{i} {name}"
                )


def test_trend_is_the_line_through_the_log_close(compacted, bar_values) -> None:
    _, bars, at = next(compacted(bar_values))
    for window in (20, 60, 120):
        expected = talib.LINEARREG_SLOPE(np.log(bars.close), window) * 252
        np.testing.assert_allclose(at(f"trend_slope_{window}")[window:], expected[window:], atol=1e-9)
        sample = np.log(bars.close[600 - window : 600])
        assert at(f"trend_fit_{window}")[599] == pytest.approx(
            np.corrcoef(sample, np.arange(window))[0, 1] ** 2, rel=1e-9
        )


def test_a_gap_shifts_the_line_in_time_not_in_order() -> None:
    """Sessions are counted, so a ticker on a straight line stays on it through its gaps."""
    sessions = np.arange(np.datetime64("2018-01-01"), np.datetime64("2018-12-31"))
    log_close = 0.001 * np.arange(len(sessions))[None, :]
    log_close[0, 100::9] = np.nan
    core = FeatureSet(feature for feature in FEATURES if isinstance(feature, Feature))
    slope = core.evaluate({"close": np.exp(log_close)}, Windows(sessions), ["trend_slope_60"])["trend_slope_60"]
    np.testing.assert_allclose(slope[np.isfinite(slope)], 0.252, rtol=1e-9)
    assert np.isfinite(slope).sum() > 200


def test_momentum_and_slopes_by_hand(compacted, bar_values) -> None:
    _, bars, at = next(compacted(bar_values))
    close, t = bars.close, 700
    for months, skipped in ((6, 1), (12, 1), (12, 6)):
        expected = close[t - 21 * skipped] / close[t - 21 * months] - 1
        assert at(f"momentum_{months}_{skipped}")[t] == pytest.approx(expected, rel=1e-12)
    for window, lag in ((20, 5), (50, 20), (200, 20)):
        expected = close[t - window + 1 : t + 1].mean() / close[t - lag - window + 1 : t - lag + 1].mean() - 1
        assert at(f"sma_slope_{window}")[t] == pytest.approx(expected, rel=1e-9)
    moves = np.diff(close[t - 252 : t + 1])
    expected = np.sign(close[t] - close[t - 252]) * ((moves < 0).mean() - (moves > 0).mean())
    assert at("momentum_discreteness_252")[t] == pytest.approx(expected, abs=1e-12)
    logs = np.diff(np.log(close[t - 252 : t + 1]))
    assert at("risk_adjusted_momentum_252")[t] == pytest.approx(logs.mean() / logs.std(ddof=1) * np.sqrt(252), rel=1e-9)
    moves = np.diff(close[t - 20 : t + 1])
    assert at("efficiency_ratio_20")[t] == pytest.approx(abs(moves.sum()) / np.abs(moves).sum(), rel=1e-9)
    assert at("low_52w_distance")[t] == pytest.approx(close[t] / close[t - 251 : t + 1].min() - 1, rel=1e-12)
