"""Bars made by hand or drawn at random, as frames and as panels, and the values of features over them."""

from collections.abc import Callable, Iterator
from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from quant_assets.features import core
from quant_assets.market.calendar import sessions
from quant_assets.market.panel import STALE_SESSIONS, Panel
from quant_assets.sources.base import BARS
from quant_assets.windows.declarations import Feature, FeatureSet
from quant_assets.windows.windows import Windows

#: What `compacted_bars` is.
Compacted = Callable[..., Iterator[tuple[str, SimpleNamespace, Callable[[str], np.ndarray]]]]


def make_bars(days: Any, closes: list[float | None], **columns: Any) -> pl.DataFrame:
    """Bars of one ticker and provider from closes: one for each close that is not None."""
    close = pl.Series(closes, dtype=pl.Float64)
    defaults: dict[str, Any] = {
        "ticker": "A",
        "open": close,
        "high": close * 1.01,
        "low": close * 0.99,
        "volume": 1000.0,
        "dividend": 0.0,
        "split_ratio": 1.0,
        "adjustment": "as_traded",
        "provider": "raw",
        "precedence": 0,
    }
    values = defaults | columns
    dates = pl.Series(np.asarray(days, dtype="datetime64[D]").tolist(), dtype=pl.Date)
    frame = pl.DataFrame({"date": dates, "close": close}).with_columns(
        (
            pl.Series(value)
            if isinstance(value, list)
            else pl.lit(value)
            if not isinstance(value, pl.Series)
            else value
        ).alias(name)
        for name, value in values.items()
    )
    return frame.select(pl.col(name).cast(dtype) for name, dtype in BARS.items()).filter(pl.col("close").is_not_null())


def random_panel(
    rng: np.random.Generator, tickers: int, days: np.ndarray, steps: int = 8, volatility: float = 0.02
) -> Panel:
    """Bars of random walks with an overnight step; volume rises with the size of the move."""
    moves = rng.normal(0, volatility / np.sqrt(steps), (tickers, len(days), steps))
    moves[:, :, 0] *= 2.0 if steps == 8 else 0.0
    path = 50.0 * np.exp(np.cumsum(moves.reshape(tickers, -1), axis=1).reshape(moves.shape))
    day = np.abs(np.log(path[:, :, -1] / path[:, :, 0]))
    volume = np.round(1e6 * np.exp(0.3 * rng.normal(size=day.shape) + 10.0 * day))
    fields = {
        "open": path[:, :, 0],
        "high": path.max(axis=2),
        "low": path.min(axis=2),
        "close": path[:, :, -1],
        "volume": volume,
    }
    fields = {name: np.ascontiguousarray(values) for name, values in fields.items()} | {
        "dollar_volume": path[:, :, -1] * volume
    }
    returns = np.full(day.shape, np.nan)
    returns[:, 1:] = path[:, 1:, -1] / path[:, :-1, -1] - 1
    return Panel(
        tuple("ABCDEFG"[:tickers]),
        days,
        fields | {"sector_return": returns.mean(axis=0) + 0.001 * rng.normal(size=len(days))},
    )


def evaluator(panel: Panel) -> Callable[[str], np.ndarray]:
    """Values of one feature, hidden or not, over a panel."""
    library = FeatureSet(feature for feature in core.FEATURES if isinstance(feature, Feature))
    windows, known = Windows(panel.sessions), {}

    def values(name: str) -> np.ndarray:
        if name not in known:
            known[name] = library.evaluate(panel.fields, windows, [name])[name]
        return known[name]

    values.panel = panel  # type: ignore[attr-defined]
    return values


def panel_with_gaps() -> Panel:
    """Four tickers from 2017 to 2019: complete, gaps of one or two sessions, a halt of thirty, a late listing."""
    panel = random_panel(np.random.default_rng(14), 4, sessions(date(2017, 1, 1), date(2019, 12, 31)))
    holes = np.zeros(panel.shape, dtype=bool)
    holes[1, 40::60] = holes[1, 41::120] = True
    holes[2, 470:500] = True
    holes[3, :330] = True
    for name, values in panel.fields.items():
        if name != "sector_return":
            values[holes] = np.nan
    return panel


def panel_that_stands_still() -> Panel:
    """Two tickers: one whose price never moves, one whose volume ends with the first half of the sessions."""
    panel = random_panel(np.random.default_rng(15), 2, sessions(date(2017, 1, 1), date(2019, 12, 31)))
    for name in ("open", "high", "low", "close"):
        panel.fields[name][0] = 0.1
    for name in ("volume", "dollar_volume"):
        panel.fields[name][1, panel.shape[1] // 2 :] = 0.0
    return panel


def compacted_bars(
    values: Callable[[str], np.ndarray], full: bool = False
) -> Iterator[tuple[str, SimpleNamespace, Callable[[str], np.ndarray]]]:
    """Ticker, its bars without the sessions that have none (what TA-Lib is given), and its values at them.

    Tickers with a halt longer than `STALE_SESSIONS` are left out, over which returns are missing here; `full=True`
    leaves out every ticker with a gap: a window of w sessions is then one of w bars.
    """
    panel = values.panel  # type: ignore[attr-defined]
    for i, ticker in enumerate(panel.tickers):
        there = np.flatnonzero(np.isfinite(panel["close"][i]))
        longest = np.diff(there).max() - 1
        if longest > (0 if full else STALE_SESSIONS):
            continue
        bars = SimpleNamespace(
            **{name: array[i, there].copy() for name, array in panel.fields.items() if array.ndim == 2}
        )
        yield ticker, bars, lambda name, i=i, there=there: values(name)[i, there]
