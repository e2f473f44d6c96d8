"""What TA-Lib defines beyond the indicators with a test of their own: rates of change, extremes, deviations,
correlations, beta, sums."""

from collections.abc import Callable
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
import talib

from quant_assets.market.calendar import SESSIONS_PER_YEAR, sessions
from quant_assets.market.panel import Panel
from quant_assets.settings.loading import load_settings
from quant_assets.signals.indicators import declared
from quant_assets.windows.windows import Windows, wilder_memory
from quant_assets_tests.synthetic_bars import evaluator, random_panel

Expected = Callable[[SimpleNamespace], np.ndarray]

YEAR = SESSIONS_PER_YEAR


def sample_deviation(values: np.ndarray, window: int) -> np.ndarray:
    """TA-Lib's deviation is that of the population, ours of a sample."""
    return talib.STDDEV(values, window) * np.sqrt(window / (window - 1))


def log_returns(close: np.ndarray) -> np.ndarray:
    return np.log(talib.ROCR(close, 1))


def delayed(values: np.ndarray, sessions: int) -> np.ndarray:
    return np.concatenate([np.full(sessions, np.nan), values[: len(values) - sessions]])


FEATURES: dict[str, Expected] = {
    "typical_price": lambda b: talib.TYPPRICE(b.high, b.low, b.close),
    "true_range": lambda b: talib.TRANGE(b.high, b.low, b.close),
    "atr_14": lambda b: talib.NATR(b.high, b.low, b.close, 14) / 100.0,
    "range_over_atr_14": lambda b: talib.TRANGE(b.high, b.low, b.close) / talib.ATR(b.high, b.low, b.close, 14),
    **{f"return_{n}": lambda b, n=n: talib.ROCP(b.close, n) for n in (1, 5, 20, 60, 120, 252)},
    **{
        f"momentum_{far}_{near}": lambda b, far=far, near=near: delayed(
            talib.ROCP(b.close, 21 * (far - near)), 21 * near
        )
        for far, near in ((6, 1), (12, 1), (12, 6))
    },
    **{
        f"sma_slope_{n}": lambda b, n=n, lag=lag: talib.ROCP(talib.SMA(b.close, n), lag)
        for n, lag in ((20, 5), (50, 20), (200, 20))
    },
    "high_52w_distance": lambda b: b.close / talib.MAX(b.close, 252) - 1.0,
    "low_52w_distance": lambda b: b.close / talib.MIN(b.close, 252) - 1.0,
    "max_return_20": lambda b: talib.MAX(talib.ROCP(b.close, 1), 20),
    **{
        f"realised_volatility_{n}": lambda b, n=n: sample_deviation(log_returns(b.close), n) * np.sqrt(YEAR)
        for n in (20, 60)
    },
    "risk_adjusted_momentum_252": lambda b: (
        talib.SMA(log_returns(b.close), YEAR) / sample_deviation(log_returns(b.close), YEAR) * np.sqrt(YEAR)
    ),
    "volatility_ratio_20_120": lambda b: (
        sample_deviation(log_returns(b.close), 20) / sample_deviation(log_returns(b.close), 120)
    ),
    "efficiency_ratio_20": lambda b: np.abs(talib.MOM(b.close, 20)) / talib.SUM(np.abs(talib.MOM(b.close, 1)), 20),
    **{
        f"trend_fit_{n}": lambda b, n=n: talib.CORREL(np.log(b.close), np.arange(1.0, len(b.close) + 1), n) ** 2
        for n in (20, 60, 120)
    },
    "sector_correlation_120": lambda b: talib.CORREL(talib.ROCP(b.close, 1)[1:], b.sector[1:], 120),
    "beta_120": lambda b: talib.BETA(np.cumprod(1.0 + b.sector), b.close, 120),
    "return_volume_correlation_60": lambda b: talib.CORREL(
        np.abs(talib.ROCP(b.close, 1))[1:], np.log(b.volume)[1:], 60
    ),
    "volume_zscore_20": lambda b: (b.volume - talib.SMA(b.volume, 20)) / sample_deviation(b.volume, 20),
    "volume_ratio_5_60": lambda b: talib.SMA(b.volume, 5) / talib.SMA(b.volume, 60),
    "turnover_variation_60": lambda b: sample_deviation(b.dollar_volume, 60) / talib.SMA(b.dollar_volume, 60),
    "turnover_zscore_60": lambda b: (
        (b.dollar_volume - talib.SMA(b.dollar_volume, 60)) / sample_deviation(b.dollar_volume, 60)
    ),
    "vwap_distance_20": lambda b: (
        b.close / (talib.SUM(talib.TYPPRICE(b.high, b.low, b.close) * b.volume, 20) / talib.SUM(b.volume, 20)) - 1.0
    ),
    **{
        f"amihud_{n}": lambda b, n=n: 1e6 * talib.SMA(np.abs(talib.ROCP(b.close, 1)) / b.dollar_volume, n)
        for n in (20, 120)
    },
    "overnight_return_20": lambda b: talib.SUM(np.log(b.open[1:] / b.close[:-1]), 20),
    "intraday_return_20": lambda b: talib.SUM(np.log(b.close / b.open), 20),
}


def equal(ours: np.ndarray, theirs: np.ndarray, message: str) -> None:
    """Equal at every bar from the 300th on; TA-Lib's running sums lose some digits over thousands of bars."""
    ours, theirs = ours[300:], theirs[len(theirs) - len(ours) + 300 :]
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert both.mean() > 0.99, message
    np.testing.assert_allclose(ours[both], theirs[both], rtol=1e-8, atol=1e-9, err_msg=message)


def with_sector(bars: SimpleNamespace, panel: Panel) -> SimpleNamespace:
    bars.sector = np.nan_to_num(panel["sector_return"][len(panel.sessions) - len(bars.close) :])
    return bars


@pytest.mark.parametrize("name", FEATURES)
def test_features_on_random_bars(name: str, compacted, bar_values) -> None:
    checked = 0
    for ticker, bars, at in compacted(bar_values, full=True):
        equal(at(name), FEATURES[name](with_sector(bars, bar_values.panel)), f"{ticker} {name}")
        checked += 1
    assert checked == 2


@pytest.mark.parametrize("name", FEATURES)
def test_features_on_real_bars(name: str, compacted, real_values) -> None:
    checked = 0
    for ticker, bars, at in compacted(real_values, full=True):
        equal(at(name), FEATURES[name](with_sector(bars, real_values.panel)), f"{ticker} {name}")
        checked += 1
    assert checked == 5


def _holes(kind: str, count: int) -> np.ndarray:
    """Sessions without a bar, at most an eighth of any memory."""
    holes, rng = np.zeros(count, dtype=bool), np.random.default_rng(7)
    if kind == "scattered":
        holes = rng.uniform(size=count) < 0.08
    elif kind == "each eighth":
        holes[7::8] = True
    else:
        length = int(kind)
        for start in range(400, count - length, 600):
            holes[start : start + length] = True
    return holes


def _memories(values: Callable[[str], np.ndarray], ticker: int, memory: int) -> np.ndarray:
    """Bars of the memory of each session: from `memory` sessions up to its month's first one on."""
    seen = np.concatenate([[0], np.cumsum(np.isfinite(values.panel["close"][ticker]))])
    starts = Windows(values.panel.sessions).starts
    return seen[1:] - seen[np.maximum(0, starts - memory)]


OSCILLATORS: dict[str, Expected] = {
    "rsi_14": lambda b: talib.RSI(b.close, 14),
    "average_true_range_14": lambda b: talib.ATR(b.high, b.low, b.close, 14),
    "atr_14": lambda b: talib.NATR(b.high, b.low, b.close, 14) / 100.0,
    "macd": lambda b: talib.MACD(b.close)[0] / b.close,
    "macd_signal": lambda b: talib.MACD(b.close)[1] / b.close,
    "macd_histogram": lambda b: talib.MACD(b.close)[2] / b.close,
    "plus_di_14": lambda b: talib.PLUS_DI(b.high, b.low, b.close, 14),
    "minus_di_14": lambda b: talib.MINUS_DI(b.high, b.low, b.close, 14),
    "adx_14": lambda b: talib.ADX(b.high, b.low, b.close, 14),
}


@pytest.mark.parametrize("kind", ["scattered", "each eighth", "3", "6", "20", "50"])
def test_oscillators_step_over_holes_and_halts(kind: str) -> None:
    panel = random_panel(np.random.default_rng(3), 2, sessions(date(2010, 1, 1), date(2017, 12, 31)))
    for name, values in panel.fields.items():
        if name != "sector_return":
            values[:, _holes(kind, len(panel.sessions))] = np.nan
    values = evaluator(panel)
    for i in range(2):
        there = np.flatnonzero(np.isfinite(panel["close"][i]))
        bars = SimpleNamespace(**{name: panel[name][i, there].copy() for name in ("high", "low", "close")})
        for name, expected in OSCILLATORS.items():
            result, theirs = values(name)[i, there], expected(bars)
            both = np.isfinite(result) & np.isfinite(theirs)
            assert both[60:].mean() > 0.75, name
            np.testing.assert_allclose(result[both], theirs[both], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("length", [60, 120, 250, 400])
def test_after_a_long_silence_an_average_is_off_by_what_the_restart_weighs(length: int) -> None:
    panel = random_panel(np.random.default_rng(3), 2, sessions(date(2010, 1, 1), date(2017, 12, 31)))
    for name, values in panel.fields.items():
        if name != "sector_return":
            values[:, 900 : 900 + length] = np.nan
    values, name = evaluator(panel), "average_true_range_14"
    far = 0.0
    for i in range(2):
        there = np.flatnonzero(np.isfinite(panel["close"][i]))
        bars = SimpleNamespace(**{name: panel[name][i, there].copy() for name in ("high", "low", "close")})
        result, theirs = values(name)[i, there], OSCILLATORS[name](bars)
        ranges = talib.TRANGE(bars.high, bars.low, bars.close)[1:]
        weight = (13.0 / 14.0) ** (_memories(values, i, wilder_memory(14))[there] - 1 - 14)
        both = np.isfinite(result) & np.isfinite(theirs)
        assert (np.abs(result - theirs)[both] <= weight[both] * np.ptp(ranges) + 1e-11).all()
        far = max(far, np.abs(result - theirs)[both].max())
    assert length < 250 or far > 1e-9, "the bound is needed"


@pytest.mark.parametrize("sector", ["it", "utilities"])
def test_indicators_on_random_and_on_real_bars(sector: str, compacted, bar_values, real_values) -> None:
    settings = load_settings("demo").indicators
    windows = settings.windows[sector]
    for source in (bar_values, real_values):
        panel = source.panel
        values = declared(windows, settings).evaluate(panel.fields, Windows(panel.sessions))
        for ticker, bars, _ in compacted(source, full=True):
            average = talib.SMA(bars.close, windows.moving_average)
            expected = {
                "moving_average": average,
                "ma_slope": talib.ROCP(average, settings.slope_sessions),
                "momentum": talib.ROCP(bars.close, windows.momentum_lag),
            }
            for name, theirs in expected.items():
                ours = values[name][panel.tickers.index(ticker), -len(bars.close) :]
                equal(ours, theirs, f"{ticker} {name}")
