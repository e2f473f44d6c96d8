"""The same indicators over one simulated panel: our windows, pandas' group-by, and TA-Lib ticker by ticker.

All three start from prices in memory in their own layout (a panel, a long frame, an array per ticker), and end with the
columns in memory. All run on one thread. Ours restart each month, so that a month computed alone has the same bits; the
others carry their state from the first row.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks.ratio import Ratio, alternating
from quant_assets.features import core
from quant_assets.windows.declarations import Feature, FeatureSet
from quant_assets.windows.windows import Windows

TICKERS, SESSIONS = 500, 2_500
REPETITIONS = 3

#: Indicators of all three.
SAME = (
    "sma_distance_20",
    "sma_distance_200",
    "ema_distance_20",
    "rsi_14",
    "macd",
    "macd_signal",
    "bollinger_width_20",
    "stochastic_k_14",
    "stochastic_d_14",
    "williams_r_14",
    "atr_14",
    "realised_volatility_60",
    "high_52w_distance",
    "obv_change_20",
    "volume_zscore_20",
)
#: Indicators of TA-Lib without vectorised code in pandas.
DIRECTIONAL = ("plus_di_14", "minus_di_14", "adx_14", "cci_20")

Bars = dict[str, np.ndarray]


def measure() -> list[Ratio]:
    """Times of the common indicators against each peer, of those that only TA-Lib has, and of the whole set `core`."""
    days, bars = panel()
    library, windows = FeatureSet(feature for feature in core.FEATURES if isinstance(feature, Feature)), Windows(days)
    frame = long_frame(days, bars)

    def ours(names: tuple[str, ...]) -> Callable[[], object]:
        return lambda: library.evaluate(bars, windows, names)

    try:
        import talib  # noqa: F401
    except ImportError:
        with_talib = False
    else:
        with_talib = True
    runs = [ours(SAME), lambda: in_pandas(frame), ours(library.names)]
    if with_talib:
        runs += [lambda: in_talib(bars), ours(SAME + DIRECTIONAL)]
    same, pandas_seconds, whole, *rest = alternating(*runs, repetitions=REPETITIONS)
    talib_seconds, ours_with_directional = rest or [None, same]
    size = f"{TICKERS} tickers x {SESSIONS} sessions"
    more = f"{len(SAME) + len(DIRECTIONAL)} indicators, {size}"
    return [
        Ratio(
            "indicators",
            f"{len(SAME)} indicators, {size}",
            same,
            "pandas group-by",
            pandas_seconds,
            "rolling and ewm by ticker",
        ),
        Ratio(
            "indicators",
            more,
            ours_with_directional,
            "TA-Lib, ticker by ticker",
            talib_seconds,
            "the former, DI, ADX and CCI",
        ),
        Ratio(
            "indicators", f"all {len(library.names)} windows of set core, {size}", whole, "", None, "our time by itself"
        ),
    ]


def panel() -> tuple[np.ndarray, Bars]:
    """Days and bars of shape (n_tickers, n_sessions), and the mean return of shape (n_sessions,)."""
    rng = np.random.default_rng(3)
    shape = (TICKERS, SESSIONS)
    days = np.busday_offset("2015-01-01", np.arange(SESSIONS), roll="forward")
    close = 50.0 * np.exp(np.cumsum(0.015 * rng.standard_t(5, shape), axis=1))
    open_ = close * np.exp(0.005 * rng.normal(size=shape))
    high = np.maximum(open_, close) * np.exp(np.abs(0.005 * rng.normal(size=shape)))
    low = np.minimum(open_, close) * np.exp(-np.abs(0.005 * rng.normal(size=shape)))
    volume = np.round(1e6 * np.exp(0.5 * rng.normal(size=shape)))
    sector = np.concatenate([[np.nan], (close[:, 1:] / close[:, :-1] - 1.0).mean(axis=0)])
    fields = {
        "open": open_,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
        "dollar_volume": close * volume,
    }
    return days, fields | {"sector_return": sector}


def long_frame(days: np.ndarray, bars: Bars) -> pd.DataFrame:
    """One row for each ticker and session, sorted."""
    columns = {name: values.ravel() for name, values in bars.items() if values.ndim == 2}
    tickers = pd.Categorical.from_codes(np.repeat(np.arange(TICKERS), SESSIONS), [f"T{i:03d}" for i in range(TICKERS)])
    return pd.DataFrame({"ticker": tickers, "date": np.tile(days, TICKERS)} | columns)


def in_pandas(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """`SAME` by group-by; averages start at the first value, which differs from the others in the first year only."""

    def rolling(values: pd.Series, window: int, how: str) -> pd.Series:
        return getattr(values.groupby(frame["ticker"], observed=True).rolling(window), how)().droplevel(0)

    def smooth(values: pd.Series, **weight: float) -> pd.Series:
        return values.groupby(frame["ticker"], observed=True).ewm(adjust=False, **weight).mean().droplevel(0)

    close, high, low, volume = (frame[name] for name in ("close", "high", "low", "volume"))
    before = close.groupby(frame["ticker"], observed=True).shift(1)
    change = close - before
    gain, loss = smooth(change.clip(lower=0.0), alpha=1 / 14), smooth(-change.clip(upper=0.0), alpha=1 / 14)
    line = smooth(close, span=12) - smooth(close, span=26)
    mean = rolling(close, 20, "mean")
    top, bottom = rolling(high, 14, "max"), rolling(low, 14, "min")
    fast = 100.0 * (close - bottom) / (top - bottom)
    slow = rolling(fast, 3, "mean")
    reach = np.maximum(high, before) - np.minimum(low, before)
    return {
        "sma_distance_20": close / mean - 1.0,
        "sma_distance_200": close / rolling(close, 200, "mean") - 1.0,
        "ema_distance_20": close / smooth(close, span=20) - 1.0,
        "rsi_14": 100.0 * gain / (gain + loss),
        "macd": line / close,
        "macd_signal": smooth(line, span=9) / close,
        "bollinger_width_20": 4.0 * rolling(close, 20, "std") * np.sqrt(19 / 20) / mean,
        "stochastic_k_14": slow,
        "stochastic_d_14": rolling(slow, 3, "mean"),
        "williams_r_14": fast - 100.0,
        "atr_14": smooth(reach, alpha=1 / 14) / close,
        "realised_volatility_60": rolling(np.log(close / before), 60, "std") * np.sqrt(252),
        "high_52w_distance": close / rolling(close, 252, "max") - 1.0,
        "obv_change_20": rolling(np.sign(change) * volume, 20, "sum") / rolling(volume, 20, "sum"),
        "volume_zscore_20": (volume - rolling(volume, 20, "mean")) / rolling(volume, 20, "std"),
    }


def in_talib(bars: Bars) -> dict[str, np.ndarray]:
    """`SAME` and `DIRECTIONAL`, each ticker's arrays passed to the C library."""
    import talib

    out = {name: np.empty((TICKERS, SESSIONS)) for name in SAME + DIRECTIONAL}
    root = np.sqrt(20 / 19)  # TA-Lib uses the population deviation
    for i in range(TICKERS):
        high, low, close, volume = (bars[name][i] for name in ("high", "low", "close", "volume"))
        line, signal, _ = talib.MACD(close)
        upper, middle, lower = talib.BBANDS(close, 20)
        slow_k, slow_d = talib.STOCH(high, low, close, 14, 3, 0, 3, 0)
        balance, change = talib.OBV(close, volume), np.full(SESSIONS, np.nan)
        change[20:] = balance[20:] - balance[:-20]
        logs = np.zeros(SESSIONS)
        logs[1:] = np.diff(np.log(close))
        for name, values in {
            "sma_distance_20": close / talib.SMA(close, 20) - 1.0,
            "sma_distance_200": close / talib.SMA(close, 200) - 1.0,
            "ema_distance_20": close / talib.EMA(close, 20) - 1.0,
            "rsi_14": talib.RSI(close, 14),
            "macd": line / close,
            "macd_signal": signal / close,
            "bollinger_width_20": (upper - lower) / middle,
            "stochastic_k_14": slow_k,
            "stochastic_d_14": slow_d,
            "williams_r_14": talib.WILLR(high, low, close, 14),
            "atr_14": talib.ATR(high, low, close, 14) / close,
            "realised_volatility_60": talib.STDDEV(logs, 60) * np.sqrt(252 * 60 / 59),
            "high_52w_distance": close / talib.MAX(close, 252) - 1.0,
            "obv_change_20": change / talib.SUM(volume, 20),
            "volume_zscore_20": (volume - talib.SMA(volume, 20)) / (talib.STDDEV(volume, 20) * root),
            "plus_di_14": talib.PLUS_DI(high, low, close, 14),
            "minus_di_14": talib.MINUS_DI(high, low, close, 14),
            "adx_14": talib.ADX(high, low, close, 14),
            "cci_20": talib.CCI(high, low, close, 20),
        }.items():
            out[name][i] = values
    return out
