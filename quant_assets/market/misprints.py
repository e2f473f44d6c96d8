"""Bars that are refused for what the bars before them say: a decimal point out of place, and an extreme move denied.

`market.quarantine` looks at one bar alone; here a close is held against the provider's last accepted one. Only steps
of `extreme_move` or more, up or down by the same factor, are looked at, without an event since then and upheld by no
other provider. An event is a split, or a dividend of `event_yield`: a smaller one is paid at the next accepted bar.
Point in time: a bar is judged at its own close, by what was accepted before and by what the others say of the same
step.

- `decimal_point`: the close lies by a power of ten off, within `decimal_tolerance`, and as many shares as ordinary were
  traded (`turnover`). A split by such a ratio would have changed their number, and a real move of that size does.
- `denied_move`: another provider's return over the same step is below `jump`, or below `extreme_move` and by as much
  apart; its close is not a repeated one, and it reports no event. The difference of as-traded prices is no split that
  `market.events` would repair, by one of its ratios or by a whole one on an ordinary dollar volume; or the price was
  refused already the session before.

What follows is held against the last accepted close, so a price that is wrong for some days is refused on each. After
`reversal_days` the price is believed: the units have changed, or the last accepted close was the wrong one, and the
move is marked (`unexplained_move`). A close that comes back, to within `jump`, to a level at which one was accepted in
that time is never refused, by the level with events or without.
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
    """Refuse the bars that the rules above name.

    Args:
        judged: of `quarantine.judge`, with `listed` where a symbol may have passed from one company to another.
        stepped: the same bars, of `steps.with_steps`.
        settings: thresholds.

    Returns:
        The bars with the reason `decimal_point` or `denied_move` where it applies.

    """
    growth = stepped["growth"].to_numpy()
    rise = 1.0 + settings.extreme_move
    extreme = (growth >= rise) | (growth <= 1.0 / rise)  # NaN: no
    if not extreme.any():
        return judged
    # Few tickers, so that the whole history need not be walked through.
    of_them = stepped["ticker"].is_in(stepped.filter(extreme)["ticker"].unique().implode())
    rows = np.flatnonzero(of_them)
    bars = stepped[rows]
    places = bars["precedence"].unique().sort().to_numpy()
    found = _compiled()(
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
        reason = reason.scatter(rows[found == code], name)
    return judged.with_columns(reason=reason)


@cache
def _compiled() -> Callable[..., NDArray[np.int8]]:
    import numba  # half a second that only those who compute pay

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
    """Why each bar is refused, of shape (n_bars,), 0 where it is not; the kernel behind `refuse_misprints`.

    The return between any two of a provider's bars is the ratio of their levels (`steps.with_steps`), whatever is
    refused between them.
    """
    n = len(ticker)
    found = np.zeros(n, dtype=np.int8)
    bar = np.full(n_providers, -1)
    last = np.full(n_providers, -1)  # the provider's last accepted bar
    refused = np.zeros(n_providers, dtype=np.bool_)  # whether there was a misprint since then
    beside = np.full((n_providers, n_providers), -1)  # the others' bars on the day of that bar
    events = np.zeros(n, dtype=np.int64)  # how many steps with an event the provider had up to the bar
    met = np.zeros(n_providers, dtype=np.int64)
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
                met[k] += event[stop]
                events[stop] = met[k]
            stop += 1
        for k in range(n_providers):
            i = bar[k]
            if i < 0 or last[k] < 0:
                continue
            growth = close[i] / close[last[k]]  # a small dividend is a large yield on a wrong close
            if 1.0 / rise < growth < rise:
                continue
            if events[i] != events[last[k]] or day[i] - day[last[k]] > days:
                continue
            back, b = False, last[k] - 1  # to a level at which it was accepted
            while not back and b >= 0 and ticker[b] == ticker[i] and day[i] - day[b] <= days:
                accepted = provider[b] == k and clean[b] and found[b] == 0
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
                # A split is repaired; but not in the middle of what was refused the day before.
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
                found[i] = _DECIMAL_POINT
            elif denied:
                found[i] = _DENIED
        for k in range(n_providers):
            i = bar[k]
            if i >= 0 and found[i] != 0:
                bar[k], refused[k] = -1, True  # stands beside nobody
        for k in range(n_providers):
            i = bar[k]
            if i < 0:
                continue
            last[k], refused[k] = i, False
            for j in range(n_providers):
                beside[k, j] = bar[j]
        start = stop
    return found
