"""Figures of a daily track record. A figure is None where it is undefined; there are no silent defaults."""

import math
from collections.abc import Mapping, Sequence

import polars as pl

from quant_assets.market.calendar import SESSIONS_PER_YEAR

#: With fewer sessions, an annualised return depends more on the exponent than on the portfolio.
MIN_ANNUALISED_SESSIONS = 60

#: Deviations and drawdowns below this are rounding, not risk.
_NEGLIGIBLE = 1e-12

#: Unit of each figure of `performance`.
UNITS: Mapping[str, str] = {
    "sessions": "sessions",
    "total_return": "1",
    "benchmark_return": "1",
    "annualised_return": "1 per year",
    "annualised_volatility": "1 per year",
    "sharpe": "1",
    "sortino": "1",
    "max_drawdown": "1",
    "calmar": "1",
    "hit_rate": "1",
    "turnover": "1",
    "average_turnover": "1 per month",
    "cost": "1",
    "information_ratio": "1",
}


def compound(returns: Sequence[float]) -> float | None:
    r"""Total return :math:`\prod_t (1 + r_t) - 1`; None without returns."""
    return math.prod(1.0 + r for r in returns) - 1.0 if returns else None


def annualised_return(returns: Sequence[float]) -> float | None:
    r"""Geometric: :math:`(\prod_t (1 + r_t))^{252 / n} - 1`; None with fewer than `MIN_ANNUALISED_SESSIONS` returns."""
    return annualised_return_of(compound(returns), len(returns))


def annualised_return_of(total: float | None, count: int) -> float | None:
    """`annualised_return` from the total return of `count` sessions."""
    if total is None or count < MIN_ANNUALISED_SESSIONS:
        return None
    return float((1.0 + total) ** (SESSIONS_PER_YEAR / count) - 1.0)


def annualised_volatility(returns: Sequence[float]) -> float | None:
    r"""Sample deviation :math:`\sqrt{252 \sum_t (r_t - \bar r)^2 / (n - 1)}`; None with fewer than two returns."""
    if not returns:
        return None
    mean = _mean(returns)
    return volatility_of(math.fsum((r - mean) ** 2 for r in returns), len(returns))


def volatility_of(squared_deviations: float, count: int) -> float | None:
    """`annualised_volatility` from the sum of the squared deviations of `count` returns from their mean."""
    return math.sqrt(SESSIONS_PER_YEAR * squared_deviations / (count - 1)) if count > 1 else None


def sharpe(returns: Sequence[float]) -> float | None:
    r"""Sharpe (1994) with a zero risk-free rate: :math:`252\,\bar r / \sigma`; None where sigma is 0 or undefined.

    Sigma is annualised.
    """
    return sharpe_of(_mean(returns), annualised_volatility(returns)) if returns else None


def sharpe_of(mean: float, volatility: float | None) -> float | None:
    """`sharpe` from the mean of the returns and their annualised volatility."""
    return _over(mean * SESSIONS_PER_YEAR, volatility)


def sortino(returns: Sequence[float]) -> float | None:
    r"""Sortino and Price (1994), target 0; None without a loss.

    .. math:: 252\,\bar r / \sqrt{252 \sum_t \min(r_t, 0)^2 / n}
    """
    if not returns:
        return None
    downside = math.sqrt(SESSIONS_PER_YEAR * math.fsum(min(r, 0.0) ** 2 for r in returns) / len(returns))
    return _over(_mean(returns) * SESSIONS_PER_YEAR, downside)


def drawdowns(returns: Sequence[float]) -> list[float]:
    r"""Loss at each session against the highest equity so far, :math:`E = 1` at the start.

    .. math:: 1 - E_t / \max_{s \le t} E_s
    """
    equity = peak = 1.0
    losses = []
    for r in returns:
        equity *= 1.0 + r
        peak = max(peak, equity)
        losses.append(1.0 - equity / peak)
    return losses


def max_drawdown(returns: Sequence[float]) -> float | None:
    """Largest of `drawdowns`, a positive fraction; None without returns.

    >>> round(max_drawdown([0.10, -0.20, 0.05, -0.10]), 4)
    0.244
    """
    return max(drawdowns(returns)) if returns else None


def calmar(returns: Sequence[float]) -> float | None:
    """Annualised return over maximum drawdown (Young 1991); None without a drawdown or where the return is None."""
    return _over(annualised_return(returns), max_drawdown(returns))


def hit_rate(returns: Sequence[float]) -> float | None:
    """Share of sessions with a positive return among those whose return is not 0; None where there is none."""
    moved = [r for r in returns if r != 0.0]
    return sum(r > 0.0 for r in moved) / len(moved) if moved else None


def information_ratio(returns: Sequence[float], benchmark: Sequence[float | None]) -> float | None:
    r"""With :math:`a_t = r_t - b_t`: :math:`\sqrt{252}\,\bar a / s_a`, over sessions whose benchmark is known.

    :math:`s_a` is the sample deviation. None with fewer than two such sessions or without deviation.
    """
    return sharpe([r - b for r, b in zip(returns, benchmark, strict=True) if b is not None])


def since_first_execution(frame: pl.DataFrame) -> pl.DataFrame:
    """A track record from its first execution on, without the cash before: the basis of all its figures.

    On the session of the very first execution nothing was held yet: a comparison with the returns of the benchmark and
    of the index would be unfair, so these become null.

    Args:
        frame: rows of dataset backtest or portfolio_backtest, each session once, in any order.

    Returns:
        The rows from the first execution on, sorted by date; none where all is cash.

    """
    frame = frame.sort("date")
    invested = ((frame["positions"] > 0) | (frame["turnover"] > 0)).arg_true()
    track = frame.slice(invested[0]) if len(invested) else frame.clear()
    opening = len(track) > 0 and track["gross_return"][0] == 0.0 and track["turnover"][0] > 0.0
    if not opening:
        return track
    first = pl.col("date") == pl.col("date").min()
    references = [name for name in ("benchmark_return", "index_return") if name in track.columns]
    return track.with_columns(pl.when(~first).then(pl.col(name)).alias(name) for name in references)


def performance(frame: pl.DataFrame) -> dict[str, float | None]:
    """Figures of a track record, net of costs.

    See the functions of this module for the formulae and `UNITS` for the units.

    `turnover` and `cost` are totals, `average_turnover` is turnover over the number of calendar months touched.

    Args:
        frame: rows of dataset backtest or portfolio_backtest, each session once, in any order.

    Returns:
        Every key of `UNITS`, in its order; None where a figure is not defined.

    """
    frame = frame.sort("date")
    returns = frame["net_return"].to_list()
    benchmark: list[float | None] = (
        frame["benchmark_return"].to_list() if "benchmark_return" in frame.columns else [None] * len(frame)
    )
    turnover = math.fsum(frame["turnover"].to_list())
    months = frame["date"].dt.truncate("1mo").n_unique()
    values: dict[str, float | None] = {
        "sessions": float(len(returns)),
        "total_return": compound(returns),
        "benchmark_return": compound([b for b in benchmark if b is not None]),
        "annualised_return": annualised_return(returns),
        "annualised_volatility": annualised_volatility(returns),
        "sharpe": sharpe(returns),
        "sortino": sortino(returns),
        "max_drawdown": max_drawdown(returns),
        "calmar": calmar(returns),
        "hit_rate": hit_rate(returns),
        "turnover": turnover if returns else None,
        "average_turnover": turnover / months if returns else None,
        "cost": math.fsum(frame["cost"].to_list()) if returns else None,
        "information_ratio": information_ratio(returns, benchmark),
    }
    return {name: values[name] for name in UNITS}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _over(numerator: float | None, denominator: float | None) -> float | None:
    if numerator is None or denominator is None or denominator < _NEGLIGIBLE:
        return None
    return numerator / denominator
