"""Datasets of value at risk: forecasts for a decision's holdings, and forecasts and outcomes session by session."""

from collections.abc import Iterable
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.panel import FloatArray
from quant_assets.market.sector_return import LOOKBACK
from quant_assets.risk.holdings import Holdings, holdings
from quant_assets.risk.value_at_risk import METHODS, Fits, Sample, fitted
from quant_assets.risk.var_backtests import Backtest, backtest
from quant_assets.schemas import DATASETS
from quant_assets.settings.risk import RiskSettings

NO_FITS = Fits(None, None)

_RESULTS = (
    "tested_sessions",
    "exceptions",
    "kupiec_p",
    "independence_p",
    "conditional_coverage_p",
    "acerbi_szekely",
    "acerbi_szekely_p",
    "traffic_light",
)


def lookback_sessions(settings: RiskSettings) -> int:
    """Sessions before a decision that its figures need."""
    return settings.window - 1 + LOOKBACK


def at_decision(held: Holdings, settings: RiskSettings, key: str) -> list[dict[str, Any]]:
    """Figures of each method, level and horizon from holdings over `settings.window` sessions, without `as_of`."""
    returns = known(held.total)
    fits = fitted(returns, settings) if len(returns) >= settings.min_observations else NO_FITS
    sample = Sample(returns, fits, returns, settings, key)
    rows = []
    for method in METHODS:
        for level in settings.levels:
            for horizon in settings.horizons:
                measured = sample.measure(method, level, horizon)
                rows.append(
                    {
                        "method": method,
                        "level": level,
                        "horizon": horizon,
                        **measured._asdict(),
                        "observations": len(returns),
                    }
                )
    return rows


def var_forecasts(
    weights: pl.DataFrame,
    prices: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    decided: Iterable[tuple[date, date, date]],
    settings: RiskSettings,
) -> pl.DataFrame:
    """Value at risk forecast at the close before each session, and the session's return.

    The holdings through a month are the weights of the decision before it, held constant: the return is that of the
    decision, without costs and drift. Student-t and GARCH are fitted at the decision; quantiles, moments and the GARCH
    variance are updated each session.

    Args:
        weights: dataset weights, or portfolio_weights (with `sector`).
        prices: dataset prices from `lookback_sessions` before the first decision (with `sector`, as the weights).
        sessions: datetime64[D], every session from the first of `prices` to the last one.
        decided: decision session, and first and last session of its holding period, for each month.
        settings: of risk.

    Returns:
        Dataset var_forecasts, sorted by date, method and level. A month whose decision has no holdings has no rows.

    """
    schema = DATASETS["var_forecasts"].schema
    rows: list[dict[str, Any]] = []
    for as_of, first, last in decided:
        decision = weights.filter(pl.col("as_of") == as_of)
        if decision.is_empty():
            continue
        held = holdings(decision, prices, sessions, as_of, settings.window, last, settings.min_coverage)
        begin = settings.window
        fit_on = known(held.total[:begin])
        fits = fitted(fit_on, settings) if len(fit_on) >= settings.min_observations else NO_FITS
        days = sessions[np.searchsorted(sessions, np.datetime64(first)) :]
        for place in range(begin, len(held.total)):
            window, so_far = held.total[place - settings.window : place], held.total[:place]
            sample = Sample(known(window), fits, known(so_far), settings, "")
            came = float(held.total[place])
            rows += _forecast(sample, days[place - begin].item(), as_of, came if np.isfinite(came) else None, settings)
    return pl.DataFrame(rows, schema=schema).sort("date", "method", "level")


def _forecast(
    sample: Sample, day: date, as_of: date, came: float | None, settings: RiskSettings
) -> list[dict[str, Any]]:
    rows = []
    for method in METHODS:
        for level in settings.levels:
            measured = sample.measure(method, level, 1)
            exception = None
            if came is not None and measured.value_at_risk is not None:
                exception = -came > measured.value_at_risk
            rows.append(
                {
                    "date": day,
                    "method": method,
                    "level": level,
                    "decided": as_of,
                    **measured._asdict(),
                    "portfolio_return": came,
                    "exception": exception,
                }
            )
    return rows


def with_backtests(rows: list[dict[str, Any]], forecasts: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of `at_decision`, those of one session ahead with the tests of the forecasts so far."""
    tested = {key: of_method(forecasts, *key) for key in {(row["method"], row["level"]) for row in rows}}
    return [row | _results(tested[row["method"], row["level"]] if row["horizon"] == 1 else None) for row in rows]


def of_method(forecasts: pl.DataFrame, method: str, level: float) -> Backtest | None:
    """Tests of a method at a level over the sessions with a forecast and a return; None without any."""
    rows = forecasts.filter(
        (pl.col("method") == method) & (pl.col("level") == level) & pl.col("exception").is_not_null()
    ).sort("date")
    came, losses, shortfalls = (
        rows[name].to_numpy() for name in ("portfolio_return", "value_at_risk", "expected_shortfall")
    )
    return backtest(came, losses, shortfalls, level)


def _results(tests: Backtest | None) -> dict[str, Any]:
    if tests is None:
        return dict.fromkeys(_RESULTS)
    values = (
        tests.sessions,
        tests.exceptions,
        tests.kupiec.p_value,
        tests.independence.p_value,
        tests.conditional_coverage.p_value,
        tests.shortfall,
        tests.shortfall_p_value,
        tests.traffic_light,
    )
    return dict(zip(_RESULTS, values, strict=True))


def known(returns: FloatArray) -> FloatArray:
    """Returns without the missing ones."""
    return np.ascontiguousarray(returns[np.isfinite(returns)])
