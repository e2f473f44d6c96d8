"""Sources of the holdings' risk, their loss under shocks and in past episodes, and the time to sell them.

Volatility and normal VaR are homogeneous in the weights, so that the names' weights times their derivatives sum to the
total (Euler; Tasche 1999): w_i cov(r_i, R) / sd(R). The historical expected shortfall is the mean of the same worst
sessions for every name.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.calendar import SESSIONS_PER_YEAR
from quant_assets.market.panel import FloatArray
from quant_assets.risk.factor_shocks import members, shocked
from quant_assets.risk.holdings import Holdings, held_at
from quant_assets.risk.value_at_risk import moments, normal, tail
from quant_assets.schemas import DATASETS
from quant_assets.settings.risk import RiskSettings

Row = dict[str, Any]

#: By past episode and held name: the return, and whether it is the name's own.
Episodes = Mapping[str, Mapping[str, tuple[float | None, bool]]]

_RETURN_IN, _NOT_TRADED = "return_in_", "did not trade then: its sector's return"


def figure_of(name: str, level: float) -> str:
    """Name of a figure at a level: `value_at_risk_99`, `value_at_risk_97.5`."""
    return f"{name}_{100 * level:g}"


def risk_breakdown(
    weights: pl.DataFrame,
    prices: pl.DataFrame,
    market: FloatArray,
    indicators: pl.DataFrame,
    episodes: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    as_ofs: Iterable[date],
    settings: RiskSettings,
    features: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Dataset risk_breakdown of the decisions, in their order.

    Args:
        weights: dataset weights, or portfolio_weights (with `sector`).
        prices: dataset prices from `forecasts.lookback_sessions` before the first decision (with `sector`, as above).
        market: returns of the sector, or of the market, of shape (n_sessions,).
        indicators: dataset indicators; only rows dated as_of are read.
        episodes: for a sector dataset episode_returns of the months up to the decisions; for several dataset
            risk_breakdown of all of them at the decisions, which has the returns of their holdings.
        sessions: datetime64[D], every session from the first of `prices` to the last decision.
        as_ofs: decision sessions; one without holdings has no rows.
        settings: of risk.
        features: dataset features, if `settings.factor_shocks` names one; only rows dated as_of are read.

    """
    breakdown: list[Row] = []
    several = "sector" in weights.columns
    volume = indicators.select("ticker", "date", "dollar_volume").drop_nulls()
    for as_of, held in held_at(weights, prices, sessions, as_ofs, settings):
        decision = weights.filter(pl.col("as_of") == as_of)
        sector_of = dict(decision.select("ticker", "sector").iter_rows()) if several else {}
        past = of_sectors(episodes, as_of) if several else of_sector(episodes, held.tickers, as_of)
        at = int(np.searchsorted(sessions, np.datetime64(as_of)))
        volumes = dict(volume.filter(pl.col("date") == as_of).select("ticker", "dollar_volume").iter_rows())
        window = market[at - settings.window + 1 : at + 1]
        figures = rows(held, window, volumes, past, sector_of, settings)
        if settings.factor_shocks:
            of_members = members(as_of, settings.factor_shocks, indicators, features)
            weight = dict(zip(held.tickers, held.weights.tolist(), strict=True))
            figures += shocked(weight, of_members, settings.factor_shocks, settings.min_coverage)
        breakdown += [{"as_of": as_of, **row} for row in figures]
    return pl.DataFrame(breakdown, schema=DATASETS["risk_breakdown"].schema)


def rows(
    held: Holdings,
    market: FloatArray,
    dollar_volume: Mapping[str, float],
    episodes: Episodes,
    sector_of: Mapping[str, str],
    settings: RiskSettings,
) -> list[Row]:
    """Figures of dataset risk_breakdown at a decision, without `as_of`.

    Args:
        held: over `settings.window` sessions.
        market: returns of the sector (or the market) on the same sessions, NaN where unknown.
        dollar_volume: median dollar volume by name, where known.
        episodes: returns of the names in past episodes.
        sector_of: each name's sector, for sums by sector; empty for a single sector.
        settings: of risk.

    """
    by_position = contributions(held, settings)
    return [
        *by_position,
        *(by_sector(by_position, sector_of) if sector_of else ()),
        *shocks(held, market, settings),
        *replayed(held, episodes),
        *liquidity(held, dollar_volume, settings),
    ]


def _row(part: str, item: str, figure: str, value: float | None, reason: str | None = None) -> Row:
    return {"part": part, "item": item, "figure": figure, "value": value, "reason": reason}


def contributions(held: Holdings, settings: RiskSettings) -> list[Row]:
    """Each name's share of volatility (annualised), VaR and ES of one session, and the total, to which they sum."""
    figures = [
        "volatility",
        *(figure_of(name, level) for name in ("value_at_risk", "expected_shortfall") for level in settings.levels),
    ]
    items = [("position", ticker) for ticker in held.tickers]
    known = np.isfinite(held.total)
    total, names = held.total[known], np.ascontiguousarray(held.returns[:, known])
    sample = moments(total) if len(total) >= settings.min_observations else None
    if sample is None or not sample.deviation > 0.0:
        why = (
            "returns do not vary"
            if sample
            else f"history too short: {len(total)} of {settings.min_observations} returns"
        )
        return [
            *(_row(part, item, "weight", float(w)) for (part, item), w in zip(items, held.weights, strict=True)),
            *(
                _row(part, item, figure, None, why)
                for part, item in [*items, ("portfolio", "total")]
                for figure in figures
            ),
        ]
    n = len(total)
    means = names.sum(axis=1) / n
    centred = total - sample.mean
    # With n - 1, as in the total's deviation.
    volatility = held.weights * (names * centred).sum(axis=1) / (n - 1) / sample.deviation
    annual = math.sqrt(SESSIONS_PER_YEAR)
    by_figure: dict[str, FloatArray] = {"volatility": annual * volatility}
    total_of: dict[str, float | None] = {"volatility": annual * sample.deviation}
    order = np.argsort(-total, kind="stable")[::-1]  # worst first
    for level in settings.levels:
        value, mean_beyond = normal(sample, level, 1).value_at_risk or 0.0, tail(-total, level)[1]
        z = (value + sample.mean) / sample.deviation
        by_figure[figure_of("value_at_risk", level)] = z * volatility - held.weights * means
        total_of[figure_of("value_at_risk", level)] = value
        beyond = n - max(math.ceil(n * level - 1e-9), 1)
        share = np.zeros(n)
        share[order[:beyond]] = 1.0 / n
        share[order[beyond]] = (n - beyond) / n - level
        by_figure[figure_of("expected_shortfall", level)] = -held.weights * (names * share).sum(axis=1) / (1.0 - level)
        total_of[figure_of("expected_shortfall", level)] = mean_beyond
    by_name = [
        row
        for place, (part, item) in enumerate(items)
        for row in (
            _row(part, item, "weight", float(held.weights[place])),
            *(_row(part, item, figure, float(by_figure[figure][place])) for figure in figures),
        )
    ]
    return [*by_name, *(_row("portfolio", "total", figure, total_of[figure]) for figure in figures)]


def by_sector(positions: Sequence[Row], sector_of: Mapping[str, str]) -> list[Row]:
    """Sums of the positions' figures over each sector; null where one position's figure is null."""
    values: dict[tuple[str, str], list[Row]] = {}
    for row in positions:
        if row["part"] == "position":
            values.setdefault((sector_of[row["item"]], row["figure"]), []).append(row)
    sums = []
    for (sector, figure), rows in values.items():
        missing = next((row["reason"] for row in rows if row["value"] is None), None)
        value = math.fsum(row["value"] for row in rows) if missing is None else None
        sums.append(_row("sector", sector, figure, value, missing))
    return sums


def shocks(held: Holdings, market: FloatArray, settings: RiskSettings) -> list[Row]:
    """Beta to the sector (or the market), and the loss for each shock to its return."""
    both = np.isfinite(held.total) & np.isfinite(market)
    items = [f"{shock:+.0%}" for shock in settings.shocks]
    names = ["beta", *items]
    count = int(both.sum())
    if count < settings.min_observations:
        why = f"history too short: {count} of {settings.min_observations} returns"
        return [_row("shock", item, "beta" if item == "beta" else "loss", None, why) for item in names]
    r, f = held.total[both], market[both]
    mean = math.fsum(f.tolist()) / count
    variation = math.fsum(((f - mean) ** 2).tolist())
    if not variation > 0.0:
        return [
            _row("shock", item, "beta" if item == "beta" else "loss", None, "the market does not vary")
            for item in names
        ]
    beta = math.fsum(((f - mean) * r).tolist()) / variation
    losses = zip(items, settings.shocks, strict=True)
    return [
        _row("shock", "beta", "beta", beta),
        *(_row("shock", item, "loss", -beta * shock) for item, shock in losses),
    ]


def replayed(held: Holdings, episodes: Episodes) -> list[Row]:
    """Loss of today's weights over each past episode, and the share of them with an own return in it.

    The share is of longs and shorts together.
    """
    losses: list[Row] = []
    weights, sizes = held.weights.tolist(), np.abs(held.weights).tolist()
    for name, returns in sorted(episodes.items()):
        past = [returns.get(ticker, (None, False)) for ticker in held.tickers]
        for ticker, (value, own) in zip(held.tickers, past, strict=True):
            losses.append(_row("position", ticker, f"{_RETURN_IN}{name}", value, None if own else _NOT_TRADED))
        missing = [ticker for ticker, (value, _) in zip(held.tickers, past, strict=True) if value is None]
        if missing:
            why = f"neither {missing[0]} nor its sector has a return in it"
            losses.append(_row("episode", name, "loss", None, why))
        else:
            loss = -math.fsum(w * (value or 0.0) for w, (value, _) in zip(weights, past, strict=True))
            losses.append(_row("episode", name, "loss", loss))
        covered = math.fsum(size for size, (_, own) in zip(sizes, past, strict=True) if own)
        losses.append(_row("episode", name, "coverage", covered / math.fsum(sizes)))
    return losses


def of_sector(episodes: pl.DataFrame, tickers: Iterable[str], as_of: date) -> Episodes:
    """Returns in the episodes that are over at as_of; names that did not trade in one get their sector's.

    Args:
        episodes: dataset episode_returns of a sector.
        tickers: names held.
        as_of: decision session.

    """
    returns: dict[str, dict[str, tuple[float | None, bool]]] = {}
    known = episodes.filter(pl.col("last") <= as_of).sort("episode", "ticker")
    tickers = list(tickers)
    for name, ticker, own, other in known.select("episode", "ticker", "episode_return", "sector_return").iter_rows():
        of_episode = returns.setdefault(name, dict.fromkeys(tickers, (other, False)))
        of_episode[ticker] = (own, True)
    return returns


def of_sectors(parts: pl.DataFrame, as_of: date) -> Episodes:
    """Returns in the episodes of the sectors' holdings at as_of, from dataset risk_breakdown of all sectors."""
    returns: dict[str, dict[str, tuple[float | None, bool]]] = {}
    rows = parts.filter(
        (pl.col("as_of") == as_of) & (pl.col("part") == "position") & pl.col("figure").str.starts_with(_RETURN_IN)
    )
    for figure, ticker, value, reason in rows.select("figure", "item", "value", "reason").iter_rows():
        returns.setdefault(figure.removeprefix(_RETURN_IN), {})[ticker] = (value, reason is None)
    return returns


def liquidity(held: Holdings, dollar_volume: Mapping[str, float], settings: RiskSettings) -> list[Row]:
    """Sessions to close each name at the participation, and until all names and nine tenths of the total are closed.

    Longs are sold and shorts bought back.
    """
    sessions: list[float | None] = []
    sizes = np.abs(held.weights).tolist()
    for ticker, size in zip(held.tickers, sizes, strict=True):
        volume = dollar_volume.get(ticker)
        sessions.append(size * settings.capital / (settings.participation * volume) if volume else None)
    by_name = [
        _row("position", ticker, "sessions_to_sell", count, None if count is not None else "dollar volume not known")
        for ticker, count in zip(held.tickers, sessions, strict=True)
    ]
    missing = [ticker for ticker, count in zip(held.tickers, sessions, strict=True) if count is None]
    if missing or not sessions:
        why = f"dollar volume of {missing[0]} not known" if missing else "nothing is held"
        return [
            *by_name,
            *(_row("portfolio", "total", name, None, why) for name in ("sessions_to_sell", "sessions_to_sell_90")),
        ]
    known = [count for count in sessions if count is not None]
    return [
        *by_name,
        _row("portfolio", "total", "sessions_to_sell", max(known)),
        _row("portfolio", "total", "sessions_to_sell_90", _sold(sizes, known, 0.9)),
    ]


def _sold(sizes: Sequence[float], sessions: Sequence[float], share: float) -> float:
    """Sessions until a share of the sizes is closed, each name at a steady rate from the start."""
    total = math.fsum(sizes)
    sold_before, rate, at = 0.0, math.fsum(w / t for w, t in zip(sizes, sessions, strict=True)), 0.0
    for end, size in sorted(zip(sessions, sizes, strict=True)):
        if sold_before + rate * (end - at) >= share * total * (1.0 - 1e-12):
            return at + max(share * total - sold_before, 0.0) / rate
        sold_before, at = sold_before + rate * (end - at), end
        rate -= size / end
    return at
