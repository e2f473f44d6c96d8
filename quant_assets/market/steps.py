"""The step from each provider's last clean bar of a ticker to its next: the total return by its own prices and events.

Conventions
-----------
- *As traded* (`as_traded`): with closes c, new shares for one old s_t and dividend d_t, both with ex-date t, the total
  return is r_t = s_t (c_t + d_t) / c_{t-1}: a dividend is paid on the shares after a split of the same day, and
  reinvested at the close of the ex-date. Alpha Vantage's adjusted closes follow the same formula. Yahoo's
  follow c_t / (c_{t-1} - d_t), which differs by d_t |c_t + d_t - c_{t-1}| / (c_{t-1} (c_{t-1} - d_t)).
- *Split-adjusted* (`split_adjusted`): closes and dividends are divided by the splits after them, so that r_t = (c_t +
  d_t) / c_{t-1}, whatever s_t; their level knows later splits.
- *Total return* (`total_return`): r_t = c_t / c_{t-1}. Only ratios of these closes are used: their level knows later
  dividends.
- Events of a refused bar count at the provider's next clean bar: shares multiply, cash is kept and reinvested there.
"""

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.delistings import company
from quant_assets.market.panel import FloatArray

IntArray = NDArray[np.int64]

#: Columns that `with_steps` adds.
STEP = ("previous", "shares", "cash", "growth", "level")


def with_steps(judged: pl.DataFrame) -> pl.DataFrame:
    """Add to each clean bar the step that leads to it.

    Args:
        judged: bars of `quarantine.judge`, sorted as there, from the tickers' first bar on, including refused bars for
            their dividends and splits; with `listed` if a symbol may belong to several companies.

    Returns:
        The bars with `previous` (Int64, position of the provider's clean bar before, -1 at its first), `shares` and
        `cash` (per share at the bar before, from the events since), `growth` (1 + total return) and `level` (product
        of the growths so far); NaN at refused bars and, except `level`, at a provider's first bar.

    """
    precedence = judged["precedence"].to_numpy()
    places = judged["precedence"].unique().sort().to_numpy()
    # Copies of fixed types: numba compiles again for another type and for a read-only array.
    previous, values = _compiled()(
        company(judged).to_numpy().copy(),
        np.array(judged["date"].to_physical(), dtype=np.int64),
        np.searchsorted(places, precedence),
        np.array(judged["reason"].is_null(), dtype=np.bool),
        np.array(judged["adjustment"] == "as_traded", dtype=np.bool),
        np.array(judged["adjustment"] == "split_adjusted", dtype=np.bool),
        *(np.array(judged[name].cast(pl.Float64).fill_null(np.nan)) for name in ("close", "dividend", "split_ratio")),
        len(places),
    )
    columns = zip(STEP, (previous, *values), strict=True)
    return judged.with_columns(pl.Series(name, column) for name, column in columns)


def with_steps_again(judged: pl.DataFrame, stepped: pl.DataFrame, changed: Iterable[str]) -> pl.DataFrame:
    """`with_steps` for bars that differ from those of an earlier result in a few tickers only.

    Args:
        judged: as for `with_steps`.
        stepped: the earlier result, with the same rows.
        changed: the tickers whose reasons, dividends or splits have changed.

    """
    rows = np.flatnonzero(judged["ticker"].is_in(pl.Series(changed, dtype=pl.String).implode()))
    if not len(rows):
        return judged.with_columns(stepped.select(STEP))
    again = with_steps(judged[rows])
    previous = again["previous"].to_numpy()
    again = again.with_columns(previous=np.where(previous >= 0, rows[previous], -1))
    return judged.with_columns(stepped[name].clone().scatter(rows, again[name]) for name in STEP)


@cache
def _compiled() -> Callable[..., tuple[IntArray, FloatArray]]:
    import numba  # imported here because it takes half a second

    compiled: Callable[..., tuple[IntArray, FloatArray]] = numba.njit(cache=True, nogil=True)(_steps)
    return compiled


def _steps(
    ticker: IntArray,
    day: IntArray,
    provider: IntArray,
    clean: NDArray[np.bool],
    as_traded: NDArray[np.bool],
    split_adjusted: NDArray[np.bool],
    close: FloatArray,
    dividend: FloatArray,
    split: FloatArray,
    n_providers: int,
) -> tuple[IntArray, FloatArray]:
    """Position of the bar before, and shares, cash, growth and level; see `with_steps`.

    The positions have the shape (n_bars,), the other values together (4, n_bars).
    """
    n = len(ticker)
    previous = np.full(n, -1)
    values = np.full((4, n), np.nan)
    last = np.full(n_providers, -1)
    held, cash, level = np.ones(n_providers), np.zeros(n_providers), np.ones(n_providers)
    split_day, dividend_day = np.full(n_providers, -1), np.full(n_providers, -1)  # a repeated row must not pay twice
    bar = np.full(n_providers, -1)
    start = 0
    while start < n:
        if start == 0 or ticker[start] != ticker[start - 1]:
            for k in range(n_providers):
                last[k], held[k], cash[k], level[k], split_day[k], dividend_day[k] = -1, 1.0, 0.0, 1.0, -1, -1
        for k in range(n_providers):
            bar[k] = -1
        stop = start
        while stop < n and ticker[stop] == ticker[start] and day[stop] == day[start]:
            k = provider[stop]
            if split[stop] > 0.0 and np.isfinite(split[stop]) and split[stop] != 1.0 and split_day[k] != day[stop]:
                split_day[k] = day[stop]
                held[k] *= split[stop]
            if dividend[stop] > 0.0 and np.isfinite(dividend[stop]) and dividend_day[k] != day[stop]:
                dividend_day[k] = day[stop]
                cash[k] += dividend[stop] * (held[k] if as_traded[stop] else 1.0)
            if clean[stop]:
                bar[k] = stop
            stop += 1
        for k in range(n_providers):
            i = bar[k]
            if i < 0:
                continue
            if last[k] >= 0:
                growth = close[i] / close[last[k]]
                if as_traded[i]:
                    growth *= held[k] + cash[k] / close[i]
                elif split_adjusted[i]:
                    growth *= 1.0 + cash[k] / close[i]
                level[k] *= growth
                previous[i] = last[k]
                values[0, i], values[1, i], values[2, i] = held[k], cash[k], growth
            values[3, i] = level[k]
            last[k], held[k], cash[k] = i, 1.0, 0.0
        start = stop
    return previous, values
