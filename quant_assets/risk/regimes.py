"""Regimes of a sector and of the market at a decision: thresholds, three-way rules and a filtered Markov model.

The rules are in `regime_rules`, the model in `hidden_markov`.
"""

import math
from collections.abc import Iterable
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import HistoryError
from quant_assets.market.calendar import SESSIONS_PER_YEAR
from quant_assets.market.panel import FloatArray
from quant_assets.market.sector_return import LOOKBACK, equal_weight_returns
from quant_assets.risk.hidden_markov import MarkovModel, fit
from quant_assets.risk.regime_rules import NORMAL, RISK_OFF, RISK_ON, UNKNOWN, judge, trend
from quant_assets.schemas import DATASETS
from quant_assets.settings.risk import RegimeSettings


def lookback_sessions(settings: RegimeSettings) -> int:
    """Sessions before as_of that a regime reads (prices and members)."""
    rules = settings.rules
    returns = max(
        settings.volatility_sessions, settings.drawdown_sessions - 1, rules.volatility_sessions, rules.long_mean - 1
    )
    return returns - 1 + LOOKBACK


def fit_sessions(settings: RegimeSettings) -> int:
    """Sessions that a fit needs before the months that it serves; 0 without a model."""
    return 0 if settings.markov.emissions == "none" else settings.markov.window + LOOKBACK


def first_served(as_of: date, cadence_months: int) -> date:
    """First day of the months served by the fit for a day: a function of the day's month alone."""
    number = 12 * as_of.year + as_of.month - 1
    number -= number % cadence_months
    return date(number // 12, number % 12 + 1, 1)


def realised_volatility(returns: FloatArray) -> float | None:
    """Annualised volatility: sqrt(252) times the sample standard deviation (n - 1) of daily returns.

    Args:
        returns: daily returns of shape (n_sessions,).

    Returns:
        The volatility, or None where a return is missing (NaN) or there are fewer than two.

    """
    if len(returns) < 2 or not np.isfinite(returns).all():
        return None
    mean = math.fsum(returns.tolist()) / len(returns)
    squares = math.fsum(((returns - mean) ** 2).tolist())
    return math.sqrt(squares / (len(returns) - 1) * SESSIONS_PER_YEAR)


def window_drawdown(returns: FloatArray) -> float:
    """Loss of the index at its last session against its highest close, with an index of 1 before the first return.

    Missing returns (NaN) leave the index where it is.

    Returns:
        Positive fraction, 0 at the high.

    """
    index = np.cumprod(np.concatenate([[1.0], 1.0 + np.nan_to_num(returns, nan=0.0)]))
    return float(1.0 - index[-1] / index.max())


def regime_state(
    prices: pl.DataFrame,
    universe: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    as_ofs: Iterable[date],
    settings: RegimeSettings,
) -> pl.DataFrame:
    """The sector's regime at each as_of; see `regimes`.

    Args:
        prices: dataset prices from `lookback_sessions` before the first as_of, and from `fit_sessions` before the
            months that the model at the first as_of serves.
        universe: dataset universe over the same sessions; an as_of without members has no row.
        sessions: datetime64[D], every session from there to the last as_of.
        as_ofs: decision sessions.
        settings: windows, thresholds, rules and model.

    Returns:
        Dataset regime_state, sorted by as_of.

    Raises:
        HistoryError: an as_of is not among the sessions, or there are fewer sessions than the lookback before it.

    """
    returns, occupied = equal_weight_returns(prices, universe, sessions), set(universe["date"])
    rows = regimes(returns, sessions, as_ofs, occupied, settings)
    return pl.DataFrame(rows, schema=DATASETS["regime_state"].schema)


def market_regime(
    prices: pl.DataFrame,
    universe: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    as_ofs: Iterable[date],
    settings: RegimeSettings,
) -> pl.DataFrame:
    """The regime of all sectors together, from the equal-weight return of their members; see `regimes`.

    Args:
        prices: dataset prices of all sectors, as far back as for `regime_state`.
        universe: dataset universe of all sectors, with `sector`.
        sessions: as of `regime_state`.
        as_ofs: decision sessions.
        settings: windows, thresholds, rules and model.

    Returns:
        Dataset market_regime, sorted by as_of.

    """
    # A ticker that moved is in both sectors' panels: it counts in its sector of the day.
    current, members = prices.filter("in_sector"), universe.select("sector", "ticker", "date")
    returns = equal_weight_returns(current, members, sessions)
    occupied = dict(members.group_by("date").agg(pl.col("sector").n_unique()).iter_rows())
    rows = [
        row | {"sectors": occupied[row["as_of"]]} for row in regimes(returns, sessions, as_ofs, set(occupied), settings)
    ]
    return pl.DataFrame(rows, schema=DATASETS["market_regime"].schema)


def regimes(
    returns: FloatArray,
    sessions: NDArray[np.datetime64],
    as_ofs: Iterable[date],
    occupied: set[date],
    settings: RegimeSettings,
) -> list[dict[str, Any]]:
    """Regimes of a series of returns at each as_of, in order, from data known at its close.

    Volatility is that of the last `volatility_sessions` returns; drawdown is measured inside the last
    `drawdown_sessions` sessions, on an index that starts with the window, so that both depend on their windows alone.
    `regime` is `risk_off` if either is above its threshold, and also if the history is too short (fewer returns than
    `volatility_sessions`): missing evidence of calm is not calm. `reason` says which. A drawdown window that is not
    full (young history) is used as it is.

    `state` is by `detection`: the three-way rules (`regime_rules`), or the model's most probable regime. Both are
    `unknown` if the history is too short. The model is fitted on the `window` sessions before the months that it serves
    (`first_served`) and filtered from the window's first session through as_of; nothing depends on the fit before it.

    Args:
        returns: daily, float64 of shape (n_sessions,), NaN where unknown.
        sessions: datetime64[D] of that shape, without a gap in the calendar.
        as_ofs: decision sessions.
        occupied: sessions with members; an as_of without has no row.
        settings: windows, thresholds, rules and model.

    Raises:
        HistoryError: an as_of is not among the sessions, or there are fewer sessions than the lookback before it.

    """
    rows = []
    models: dict[date, MarkovModel | str] = {}
    for as_of in sorted(set(as_ofs)):
        at = int(np.searchsorted(sessions, np.datetime64(as_of)))
        if at == len(sessions) or sessions[at] != np.datetime64(as_of) or at < lookback_sessions(settings):
            raise HistoryError(
                f"regime at {as_of} needs that session and the {lookback_sessions(settings)} before it; "
                "pass sessions that reach so far"
            )
        if as_of not in occupied:
            continue
        recent = returns[at - settings.volatility_sessions + 1 : at + 1]
        window = returns[at - settings.drawdown_sessions + 2 : at + 1]
        volatility = realised_volatility(recent)
        drawdown = None if volatility is None else window_drawdown(window)
        count = int(np.isfinite(recent).sum())
        regime, reason = _judge(volatility, drawdown, count, settings)
        rules = settings.rules
        ruled = judge(
            realised_volatility(returns[at - rules.volatility_sessions + 1 : at + 1]),
            drawdown,
            trend(returns[at - rules.long_mean + 2 : at + 1], rules.short_mean),
            rules,
        )
        row = {"as_of": as_of, "regime": regime, "volatility": volatility, "drawdown": drawdown, "reason": reason}
        row |= {"rule_state": ruled.state, "rule_volatility": ruled.volatility, "rule_trend": ruled.trend}
        row |= {"rule_reason": ruled.reason} | _filtered(returns, sessions, at, settings, models)
        state = ruled.state if settings.detection == "rules" else row["markov_state"]
        row |= {"state": state, "detection": settings.detection}
        rows.append(row | {"risk_multiplier": getattr(settings.multipliers, str(state), None)})
    return rows


def _filtered(
    returns: FloatArray,
    sessions: NDArray[np.datetime64],
    at: int,
    settings: RegimeSettings,
    models: dict[date, MarkovModel | str],
) -> dict[str, Any]:
    """The model's columns at a session; `models` stores the fits so far, or the reason why there is none."""
    markov = settings.markov
    if markov.emissions == "none":
        return {}
    served = first_served(sessions[at].item(), markov.cadence_months)
    stop = int(np.searchsorted(sessions, np.datetime64(served)))
    begin = stop - markov.window
    if begin < LOOKBACK:
        raise HistoryError(
            f"the regime model of {served:%Y-%m} needs the {fit_sessions(settings)} sessions before that month; "
            "pass sessions that reach so far"
        )
    observed = np.isfinite(returns)
    if served not in models:
        count = int(observed[begin:stop].sum())
        if count < markov.min_observations:
            models[served] = f"history too short: {count} of {markov.min_observations} returns"
        else:
            fitted = fit(returns[begin:stop][observed[begin:stop]], markov)
            models[served] = (
                "no fit: the search found no states of more than single returns" if fitted is None else fitted
            )
    model, fitted_to = models[served], sessions[stop - 1].item()
    if isinstance(model, str):
        return {"markov_state": UNKNOWN, "markov_reason": model, "markov_fitted_to": fitted_to}
    if not observed[at]:
        return {"markov_state": UNKNOWN, "markov_reason": "no return at the decision", "markov_fitted_to": fitted_to}
    probability = model.filtered(returns[begin : at + 1][observed[begin : at + 1]])[-1]
    by_regime = {
        RISK_OFF: float(probability[-1]),
        NORMAL: float(probability[1:-1].sum()),
        RISK_ON: float(probability[0]),
    }
    # Among equal probabilities the more cautious regime.
    state = max(by_regime, key=lambda name: by_regime[name])
    columns: dict[str, Any] = {"markov_state": state, "markov_fitted_to": fitted_to}
    columns |= {f"markov_{name}": value for name, value in by_regime.items()}
    columns |= {f"markov_{number}": float(value) for number, value in enumerate(probability, start=1)}
    return columns | {"markov_volatility": model.ahead(probability) * math.sqrt(SESSIONS_PER_YEAR)}


def _judge(volatility: float | None, drawdown: float | None, known: int, settings: RegimeSettings) -> tuple[str, str]:
    if volatility is None or drawdown is None:
        return "risk_off", f"history too short: {known} of {settings.volatility_sessions} returns"
    crossed = []
    if volatility > settings.max_volatility:
        crossed.append(f"volatility {volatility:.1%} above {settings.max_volatility:.1%}")
    if drawdown > settings.max_drawdown:
        crossed.append(f"drawdown {drawdown:.1%} above {settings.max_drawdown:.1%}")
    if crossed:
        return "risk_off", "; ".join(crossed)
    limits = f"{settings.max_volatility:.1%} and {settings.max_drawdown:.1%}"
    return "risk_on", f"volatility {volatility:.1%} and drawdown {drawdown:.1%} within {limits}"
