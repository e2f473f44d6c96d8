"""Bars refused in comparison with earlier bars: a misplaced decimal point, or an extreme move that another one denies.

`market.quarantine` looks at one bar alone; here a close is compared with the provider's last accepted close. Only steps
of `extreme_move` or more, up or down by the same factor, are considered, without an event since then and not upheld by
another provider. An event is a split, or a dividend of `event_yield`: a smaller one is paid at the next accepted bar.
Point in time: a bar is judged at its own close, from the bars accepted before and the other providers' returns over the
same step.

- `decimal_point`: the close is wrong by a power of ten, within `decimal_tolerance`, and the number of shares traded is
  ordinary (`turnover`). A split by such a ratio, or a real move of that size, would have changed it.
- `denied_move`: another provider's return over the same step is below `jump`, or below `extreme_move` and as much
  apart; it does not repeat a close and reports no event. For as-traded prices, the difference is not a split that
  `market.events` would repair (by one of its ratios, or by a whole number on an ordinary dollar volume), or the price
  was already refused on the session before.

Later bars are compared with the last accepted close, so a price that is wrong for some days is refused on all of them.
After `reversal_days` the price is accepted: the units have changed or the last accepted close was wrong, and the move
is marked (`unexplained_move`). A close that returns, within `jump`, to a level accepted in that time is never refused,
whether the levels include events or not.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.delistings import company
from quant_assets.market.events import SPLIT_RATIOS
from quant_assets.market.panel import FloatArray
from quant_assets.settings.domain import EventSettings

_DECIMAL_POINT, _DENIED = 1, 2
_REASONS = {_DECIMAL_POINT: "decimal_point", _DENIED: "denied_move"}


def refuse_misprints(judged: pl.DataFrame, stepped: pl.DataFrame, settings: EventSettings) -> pl.DataFrame:
    """Refuse bars by the rules above.

    Args:
        judged: result of `quarantine.judge`, with `listed` if a symbol may belong to several companies.
        stepped: the same bars, from `steps.with_steps`.
        settings: thresholds.

    Returns:
        The bars, the refused ones with the reason `decimal_point` or `denied_move`.

    """
    growth = stepped["growth"].to_numpy()
    rise = 1.0 + settings.extreme_move
    extreme = (growth >= rise) | (growth <= 1.0 / rise)  # NaN: no
    if not extreme.any():
        return judged
    # Only the few tickers with such a step.
    affected = stepped["ticker"].is_in(stepped.filter(extreme)["ticker"].unique().implode())
    rows = np.flatnonzero(affected)
    bars = stepped[rows]
    places = bars["precedence"].unique().sort().to_numpy()
    codes = _compiled()(
        company(bars).to_numpy().copy(),
        np.array(bars["date"].to_physical(), dtype=np.int64),
        np.searchsorted(places, bars["precedence"].to_numpy()),
        np.array(judged["reason"][rows].is_null(), dtype=np.bool),
        np.array(bars["adjustment"] == "as_traded", dtype=np.bool),
        np.array(
            (bars["shares"] != 1.0)
            | (bars["cash"] >= settings.event_yield * stepped["close"].gather(bars["previous"].clip(0))),
            dtype=np.bool,
        ),
        *(np.array(bars[name].cast(pl.Float64).fill_null(np.nan)) for name in ("level", "close", "volume")),
        len(places),
        SPLIT_RATIOS,
        rise,
        1.0 + settings.jump,
        math.log1p(settings.decimal_tolerance),
        settings.turnover,
        settings.disagreement,
        settings.ratio_tolerance,
        settings.reversal_days,
    )
    reason = judged["reason"].clone()
    for code, name in _REASONS.items():
        reason = reason.scatter(rows[codes == code], name)
    return judged.with_columns(reason=reason)


@cache
def _compiled() -> Callable[..., NDArray[np.int8]]:
    import numba  # imported here because it takes half a second

    compiled: Callable[..., NDArray[np.int8]] = numba.njit(cache=True, nogil=True)(_misprints)
    return compiled


def _misprints(
    ticker: NDArray[np.int64],
    day: NDArray[np.int64],
    provider: NDArray[np.int64],
    clean: NDArray[np.bool],
    as_traded: NDArray[np.bool],
    event: NDArray[np.bool],
    level: FloatArray,
    close: FloatArray,
    volume: FloatArray,
    n_providers: int,
    ratios: FloatArray,
    rise: float,
    ordinary: float,
    decimal_tolerance: float,
    turnover: float,
    disagreement: float,
    ratio_tolerance: float,
    days: int,
) -> NDArray[np.int8]:
    """Reason code of each bar, of shape (n_bars,), 0 if it is not refused; the kernel of `refuse_misprints`.

    The return between two bars of a provider is the ratio of their levels (`steps.with_steps`), also across refused
    bars.
    """
    n = len(ticker)
    codes = np.zeros(n, dtype=np.int8)
    bar = np.full(n_providers, -1)
    last = np.full(n_providers, -1)  # the provider's last accepted bar
    refused = np.zeros(n_providers, dtype=np.bool_)  # whether there was a misprint since then
    beside = np.full((n_providers, n_providers), -1)  # the other providers' bars on the day of that bar
    events = np.zeros(n, dtype=np.int64)  # how many steps with an event the provider had up to the bar
    event_count = np.zeros(n_providers, dtype=np.int64)
    start = 0
    while start < n:
        if start == 0 or ticker[start] != ticker[start - 1]:
            last[:], refused[:] = -1, False
        bar[:] = -1
        stop = start
        while stop < n and ticker[stop] == ticker[start] and day[stop] == day[start]:
            k = provider[stop]
            if clean[stop]:
                bar[k] = stop
                event_count[k] += event[stop]
                events[stop] = event_count[k]
            stop += 1
        for k in range(n_providers):
            i = bar[k]
            if i < 0 or last[k] < 0:
                continue
            growth = close[i] / close[last[k]]  # without dividends: a small one is a large yield on a wrong close
            if 1.0 / rise < growth < rise:
                continue
            if events[i] != events[last[k]] or day[i] - day[last[k]] > days:
                continue
            back, b = False, last[k] - 1  # whether the price is back at an accepted level
            while not back and b >= 0 and ticker[b] == ticker[i] and day[i] - day[b] <= days:
                accepted = provider[b] == k and clean[b] and codes[b] == 0
                near = 1.0 / ordinary <= level[i] / level[b] <= ordinary
                back = accepted and (near or 1.0 / ordinary <= close[i] / close[b] <= ordinary)
                b -= 1
            if back:
                continue
            traded = volume[i] / volume[last[k]] if volume[last[k]] > 0.0 else np.nan
            upheld, denied = False, False
            for j in range(n_providers):
                since = beside[k, j]
                if j == k or bar[j] < 0 or since < 0:
                    continue
                other = level[bar[j]] / level[since]
                apart = min(abs(other - growth), abs(other - level[i] / level[last[k]]))
                upheld |= apart <= disagreement * max(1.0, growth)
                far = not 1.0 / rise < growth / other < rise
                quiet = 1.0 / ordinary < other < ordinary or (far and 1.0 / rise < other < rise)
                quiet &= events[bar[j]] == events[since] and close[bar[j]] != close[since]
                # A split is repaired instead, but not directly after a refused bar.
                split = np.abs(growth * ratios / other - 1.0).min() <= ratio_tolerance
                if 1.0 / turnover <= traded * growth <= turnover:
                    whole = np.round(max(growth / other, other / growth))
                    fitting = growth / other / whole if growth > other else growth / other * whole
                    split |= abs(fitting - 1.0) <= ratio_tolerance
                denied |= quiet and (refused[k] or not (split and as_traded[i]))
            if upheld:
                continue
            tenfold = np.log(growth) / np.log(10.0)
            shifted = abs(tenfold - np.round(tenfold)) * np.log(10.0) <= decimal_tolerance
            if shifted and 1.0 / turnover <= traded <= turnover:
                codes[i] = _DECIMAL_POINT
            elif denied:
                codes[i] = _DENIED
        for k in range(n_providers):
            i = bar[k]
            if i >= 0 and codes[i] != 0:
                bar[k], refused[k] = -1, True
        for k in range(n_providers):
            i = bar[k]
            if i < 0:
                continue
            last[k], refused[k] = i, False
            for j in range(n_providers):
                beside[k, j] = bar[j]
        start = stop
    return codes
