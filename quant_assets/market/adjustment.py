"""One adjusted series per ticker from several providers' bars, carried forward from its first bar.

Nothing here looks ahead: a factor at t depends only on the ticker's bars up to t, so a later split or dividend, another
ticker, or the last day of the data changes no factor, not even in the last bit.

Conventions
-----------
- The return r_t of a session, as traded or as adjusted, is that of `market.steps`.
- Anchored close: P_t = P_first r_2 ... r_t, where P_first is the first close of a ticker that starts with as-traded
  bars, and 1 if it starts with adjusted ones. `price_factor` = P_t / c_t, for all four prices of the session.
- As-traded levels of adjusted bars: the levels of adjusted prices and volumes depend on later events, so the as-traded
  level is known only after an as-traded bar of the series, whose level the provider's dividends and splits carry
  forward (`traded_factor`, `traded_volume_factor`).

Joining providers
-----------------
The best provider with a bar on a ticker's first day leads its series. On every session where both have a bar, another
provider is aligned with the series (its close gets the series' anchored close) and its return since the session before
is compared with the series'. It agrees if more than half of the last `splice_sessions` comparable returns, and at
least `splice_min_sessions` of them, are within `splice_tolerance`. A better provider that agrees takes over at the
first session whose return both sides of the step have; if the leader has no bar, the best provider that agrees
continues from the last session it shared with the series. A provider that does not agree describes another company
(symbols are reused) or is faulty: if the series has no other bar, or this provider would have led, its bar is listed
as `unjoined` and not used.

Unexplained
-----------
A bar of the series is marked if its return r_t, with the events used, is `extreme_move` or more, up or down by the
same factor, and no other provider upholds it: none has a return since the same session within `disagreement` of it (as
a share of 1 + r_t if that is more than 1). So is a smaller jump that reverses a marked step: within `reversal_days`,
to the level before it within `reversal_tolerance` and a quarter of the jump, as in `market.reversals`.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.delistings import company
from quant_assets.market.panel import FloatArray
from quant_assets.market.steps import STEP
from quant_assets.settings.domain import BarSettings

_SUPERSEDED, _JOINED, _UNJOINED = 0, 1, 2


def join_providers(stepped: pl.DataFrame, settings: BarSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Choose one provider's bar per ticker and session, and carry the factors from the ticker's first bar.

    Args:
        stepped: result of `steps.with_steps` with the repaired events (`events.repair`), and with `listed`
            (`delistings.with_listing`) if a symbol may belong to several companies.
        settings: `splice_sessions`, `splice_min_sessions`, `splice_tolerance`; of the events `extreme_move`,
            `disagreement` and the thresholds of a reversal.

    Returns:
        The bars of the series with `price_factor`, `volume_factor`, `split_factor`, `traded_factor`,
        `traded_volume_factor` and `unexplained` (dataset `ohlcv`), and the bars left out because their provider does
        not agree with the series, with the reason `unjoined`.

    """
    bars = stepped
    if "listed" not in bars.columns:
        bars = stepped.with_columns(listed=pl.col("date").min().over("ticker"))
    places = bars["precedence"].unique().sort().to_numpy()
    split_adjusted = bars["adjustment"] == "split_adjusted"
    # Copies of fixed types: numba compiles again for another type and for a read-only array.
    status, factors, unexplained = _compiled()(
        company(bars).to_numpy().copy(),
        np.array(bars["date"].to_physical(), dtype=np.int64),
        np.searchsorted(places, bars["precedence"].to_numpy()),
        np.array(bars["reason"].is_null(), dtype=np.bool),
        np.array(bars["adjustment"] == "as_traded", dtype=np.bool),
        np.array(split_adjusted, dtype=np.bool),
        np.array((bars["dividend"].is_not_null() | split_adjusted) & bars["split_ratio"].is_not_null(), dtype=np.bool),
        np.array(bars["previous"], dtype=np.int64),
        *(
            np.array(bars[name].cast(pl.Float64).fill_null(np.nan))
            for name in ("close", "volume", "shares", "cash", "growth")
        ),
        len(places),
        settings.splice_sessions,
        settings.splice_min_sessions,
        settings.splice_tolerance,
        math.log1p(settings.events.extreme_move),
        settings.events.disagreement,
        math.log1p(settings.events.jump),
        math.log1p(settings.events.reversal_tolerance),
        settings.events.reversal_days,
    )
    names = ("price_factor", "volume_factor", "split_factor", "traded_factor", "traded_volume_factor")
    carried = bars.with_columns(
        *(pl.Series(name, values, nan_to_null=True) for name, values in zip(names, factors, strict=True)),
        unexplained=pl.Series(unexplained),
    )
    series = carried.filter(pl.Series(status == _JOINED)).drop("reason", "row", "precedence", *STEP)
    return series, bars.drop(STEP).filter(pl.Series(status == _UNJOINED)).with_columns(reason=pl.lit("unjoined"))


def adjust(ohlcv: pl.DataFrame) -> pl.DataFrame:
    """Adjusted bars (dataset `prices`) from bars with factors (dataset `ohlcv`); works on any subset of rows.

    If prices and volume are adjusted for splits only, close times volume is the dollar volume, whatever their level.

    Returns:
        open to close times `price_factor`, volume times `volume_factor`, `close_unadjusted` (as traded),
        `dollar_volume` (close times volume as traded), both null if unknown, `split_factor`, `unexplained`,
        `in_sector`, `panel_from`.

    """
    return ohlcv.select(
        "ticker",
        "date",
        "listed",
        *(pl.col(name) * pl.col("price_factor") for name in ("open", "high", "low", "close")),
        pl.col("volume") * pl.col("volume_factor"),
        (pl.col("close") * pl.col("traded_factor")).alias("close_unadjusted"),
        pl.when(pl.col("adjustment") == "split_adjusted")
        .then(pl.col("close") * pl.col("volume"))
        .otherwise(pl.col("close") * pl.col("traded_factor") * (pl.col("volume") * pl.col("traded_volume_factor")))
        .alias("dollar_volume"),
        "split_factor",
        "unexplained",
        "in_sector",
        "panel_from",
    )


@cache
def _compiled() -> Callable[..., tuple[NDArray[np.int8], FloatArray, NDArray[np.bool]]]:
    import numba  # imported here because it takes half a second

    njit = numba.njit(cache=True, nogil=True)
    compiled: Callable[..., tuple[NDArray[np.int8], FloatArray, NDArray[np.bool]]] = njit(_series)
    return compiled


def _series(
    ticker: NDArray[np.int64],
    day: NDArray[np.int64],
    provider: NDArray[np.int64],
    clean: NDArray[np.bool],
    as_traded: NDArray[np.bool],
    split_adjusted: NDArray[np.bool],
    informed: NDArray[np.bool],
    previous: NDArray[np.int64],
    close: FloatArray,
    volume: FloatArray,
    shares: FloatArray,
    cash: FloatArray,
    growth: FloatArray,
    n_providers: int,
    window: int,
    minimum: int,
    tolerance: float,
    extreme: float,
    disagreement: float,
    jump: float,
    near: float,
    reversal_days: int,
) -> tuple[NDArray[np.int8], FloatArray, NDArray[np.bool]]:
    """Status, factors and mark of every bar; the kernel of `join_providers`. The tests have a slow reference.

    Args:
        ticker: number of the ticker, of shape (n_bars,); bars are sorted by ticker, day, provider.
        day: number of the day.
        provider: number of the provider from 0, the best first.
        clean: whether the bar is not refused; at most one per ticker, day and provider.
        as_traded: whether the provider gives prices as traded.
        split_adjusted: whether it has adjusted them for splits alone.
        informed: whether the provider gives the dividends and splits for which its prices are adjusted.
        previous: position of the provider's clean bar before, -1 if there is none.
        close: closes as given.
        volume: volumes as given.
        shares: per share at the bar before.
        cash: per share at the bar before.
        growth: 1 + the provider's own total return since the bar before.
        n_providers: number of providers.
        window: largest number of returns compared.
        minimum: smallest number of returns compared.
        tolerance: largest difference of returns that agree.
        extreme: smallest absolute logarithm of 1 + return that is marked.
        disagreement: largest difference of another provider's return that upholds it.
        jump: smallest absolute logarithm of 1 + return that reverses a marked step.
        near: largest distance to the level before that step after a reversal, as a logarithm.
        reversal_days: largest number of days from the marked step to its reversal.

    Returns:
        Status of shape (n_bars,), factors of shape (5, n_bars): price, volume, split, traded, traded volume; NaN for
        bars not in the series; and whether the bar of the series is unexplained, of shape (n_bars,).

    """
    n = len(ticker)
    status = np.zeros(n, dtype=np.int8)
    factors = np.full((5, n), np.nan)
    unexplained = np.zeros(n, dtype=np.bool_)
    providers = range(n_providers)

    bar = np.full(n_providers, -1)  # the provider's clean bar of the day
    own_splits = np.ones(n_providers)  # since the provider's first bar, if its volume is not adjusted for them
    price_factor = np.full(n_providers, np.nan)
    split_factor = np.full(n_providers, np.nan)
    traded_factor = np.full(n_providers, np.nan)
    volume_base = np.full(n_providers, np.nan)
    aligned_day = np.full(n_providers, -1)
    compared = np.zeros(n_providers, dtype=np.int64)
    differences = np.full((n_providers, window), np.nan)
    volumes_met = np.zeros(n_providers, dtype=np.int64)
    volume_ratios = np.full((n_providers, window), np.nan)
    leader = -1
    series_day = -1
    series_close = np.nan
    series_volume = 1.0  # volume factor times splits of the last bar, for a new provider without comparable volumes
    traded_shares = np.nan  # volume factor times split factor of the last as-traded bar
    marked_day, marked_from = -1, np.nan  # the last marked step that was not reversed: its day and the level before

    # Plain loops instead of slices and np.median: numba compiles them in less than half the time.
    start = 0
    while start < n:
        if start == 0 or ticker[start] != ticker[start - 1]:
            leader, series_day, series_close, series_volume, traded_shares = -1, -1, np.nan, 1.0, np.nan
            marked_day = -1
            for k in providers:
                aligned_day[k], own_splits[k], volume_base[k], compared[k], volumes_met[k] = -1, 1.0, np.nan, 0, 0
                price_factor[k], split_factor[k], traded_factor[k] = np.nan, np.nan, np.nan
        stop = start
        today = day[start]
        for k in providers:
            bar[k] = -1
        while stop < n and ticker[stop] == ticker[start] and day[stop] == today:
            if clean[stop]:
                bar[provider[stop]] = stop
            stop += 1

        # 1. Carry each provider's factors over its own step to today's bar.
        for k in providers:
            i = bar[k]
            if i < 0:
                continue
            if previous[i] >= 0:
                if as_traded[i]:
                    price_factor[k] *= shares[i] + cash[i] / close[i]
                    own_splits[k] *= shares[i]
                elif split_adjusted[i]:
                    price_factor[k] *= 1.0 + cash[i] / close[i]
                    traded_factor[k] /= shares[i]
                else:
                    left = 1.0 - cash[i] / close[previous[i]]
                    traded_factor[k] = traded_factor[k] * left / shares[i] if left > 0.0 else np.nan
                split_factor[k] *= shares[i]
            if as_traded[i]:
                traded_factor[k] = 1.0
            elif not informed[i]:
                traded_factor[k] = np.nan  # without its events the traded price cannot be carried

        # 2. Choose today's leader.
        chosen = -1
        if leader < 0:
            for k in providers:
                if bar[k] >= 0:
                    chosen = k
                    price_factor[k] = 1.0 if as_traded[bar[k]] else 1.0 / close[bar[k]]
                    split_factor[k] = 1.0
                    volume_base[k] = 1.0
                    break
        else:
            if bar[leader] >= 0:
                chosen = leader
            for k in providers:
                if bar[k] < 0 or k == leader or (chosen >= 0 and k > chosen):
                    continue
                seen = min(compared[k], window)
                agreeing = 0
                for j in range(seen):
                    agreeing += differences[k, j] < tolerance
                if seen >= minimum and 2 * agreeing > seen:
                    if chosen < 0 or aligned_day[k] == series_day:
                        chosen = k
                        break
                elif chosen < 0 or seen >= minimum:
                    status[bar[k]] = _UNJOINED

        # 3. Set the bar of the series and align the other providers with it.
        if chosen >= 0:
            i = bar[chosen]
            if chosen != leader and leader >= 0:
                # Again at every change of leader for adjusted volumes: a spin-off listed as a split shifts their level.
                if np.isnan(volume_base[chosen]) or not as_traded[i]:
                    volume_base[chosen] = series_volume
                    met = min(volumes_met[chosen], window)
                    if met == 0:
                        traded_shares = np.nan
                    for a in range(met):  # the median
                        rank = 0
                        for b in range(met):
                            rank += volume_ratios[chosen, b] < volume_ratios[chosen, a] or (
                                volume_ratios[chosen, b] == volume_ratios[chosen, a] and b < a
                            )
                        if rank == met // 2:
                            volume_base[chosen] = volume_ratios[chosen, a]
                compared[leader] = compared[chosen]
                for j in range(window):
                    differences[leader, j] = differences[chosen, j]
            leader = chosen
            anchored = price_factor[chosen] * close[i]
            series_growth = anchored / series_close
            volume_factor = volume_base[chosen] / own_splits[chosen]
            shares_now = volume_factor * split_factor[chosen]
            if as_traded[i]:
                traded_shares = shares_now
            status[i] = _JOINED
            factors[0, i], factors[1, i] = price_factor[chosen], volume_factor
            factors[2, i], factors[3, i], factors[4, i] = (
                split_factor[chosen],
                traded_factor[chosen],
                shares_now / traded_shares,
            )
            moved = abs(np.log(series_growth))  # NaN at the first bar: nothing below is true
            back = marked_day >= 0 and today - marked_day <= reversal_days and moved >= jump
            back &= abs(np.log(anchored / marked_from)) <= min(near, 0.25 * moved)
            unexplained[i] = back or moved >= extreme
            for k in providers:
                other = bar[k]
                if other < 0 or k == chosen:
                    continue
                if series_day >= 0 and previous[other] >= 0 and day[previous[other]] == series_day:
                    if abs(growth[other] - series_growth) <= disagreement * max(1.0, series_growth):
                        unexplained[i] = False
                    differences[k, compared[k] % window] = abs(growth[other] - series_growth)
                    compared[k] += 1
                if volume[i] > 0.0 and volume[other] > 0.0:
                    ratio = volume_factor * volume[i] / (volume[other] / own_splits[k])
                    volume_ratios[k, volumes_met[k] % window] = ratio
                    volumes_met[k] += 1
                price_factor[k] = anchored / close[other]
                split_factor[k] = split_factor[chosen]
                if not as_traded[other] and not np.isnan(traded_factor[chosen]):
                    traded_factor[k] = traded_factor[chosen] * close[i] / close[other]
                aligned_day[k] = today
            if unexplained[i]:
                marked_day, marked_from = -1 if back else today, series_close
            aligned_day[chosen] = today
            series_day, series_close, series_volume = today, anchored, volume_base[chosen]
        start = stop
    return status, factors, unexplained
