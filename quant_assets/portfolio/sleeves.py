"""Shares of equities, crypto-currencies and cash. Weights inside the sleeves are elsewhere."""

import math
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.calendar import SESSIONS_PER_YEAR
from quant_assets.market.crypto import returns_at
from quant_assets.market.panel import FloatArray
from quant_assets.schemas import DATASETS
from quant_assets.settings.trading import SleeveSettings


@dataclass(frozen=True)
class Allocation:
    """Shares of the portfolio, which add up to 1, and the figures behind them.

    Attributes:
        equities: share.
        crypto: share.
        cash: the rest.
        equity_volatility: annualised; None where the history is too short.
        crypto_volatility: the same.
        portfolio_volatility: of the portfolio, with cash at 0; None where a sleeve that is held has none.
        crypto_risk: crypto's share of the variance; None without any.
        rebalanced: whether the shares were traded to, or are the drifted shares of the month before.
        reason: the deciding rule, in words.

    """

    equities: float
    crypto: float
    cash: float
    equity_volatility: float | None
    crypto_volatility: float | None
    portfolio_volatility: float | None
    crypto_risk: float | None
    rebalanced: bool
    reason: str


def lookback_sessions(settings: SleeveSettings) -> int:
    """Sessions up to a decision whose returns it reads."""
    return max(settings.volatility_sessions, settings.mean_sessions if settings.method == "mvo_reg" else 0)


def sleeve_allocation(
    before: pl.DataFrame,
    equity: pl.DataFrame,
    crypto: pl.DataFrame,
    market_regime: pl.DataFrame,
    days: NDArray[np.datetime64],
    as_of: date,
    settings: SleeveSettings,
) -> pl.DataFrame:
    """The allocation of a decision, from the drifted allocation before it.

    Args:
        before: the allocation of the month before, no row or one row of the dataset.
        equity: `date`, `net_return`, `positions` of the total portfolio.
        crypto: rows of dataset crypto.
        market_regime: rows of the dataset.
        days: sessions, from before the first that a decision reads, datetime64[D] of shape (n_sessions,).
        as_of: session of the decision.
        settings: method, windows, budget, targets, threshold, exposure.

    Returns:
        A row of dataset sleeve_allocation.

    """
    # The returns that are read depend on the decision alone, not on further rows of the inputs.
    upto = days[days <= np.datetime64(as_of)]
    book = equity.select("date", "net_return", "positions")
    returns = pl.DataFrame({"date": upto}).join(book, on="date", how="left").sort("date")
    stocks = returns["net_return"].fill_null(np.nan).to_numpy()
    coins = returns_at(crypto.rename({"close": "value"}), settings.coins, upto)
    multiplier = _multiplier(market_regime, as_of, settings)
    held, since = None, as_of
    if len(before):
        row = before.row(0, named=True)
        later = upto > np.datetime64(row["as_of"])
        # On a session without a return nothing was held, or no close is known: the share does not move.
        grown = [float(np.prod(1.0 + np.nan_to_num(sleeve[later]))) - 1.0 for sleeve in (stocks, coins)]
        held, since = drifted((row["equities"], row["crypto"]), grown[0], grown[1]), row["since"]
    read = lookback_sessions(settings)
    # Sessions before there was a portfolio say nothing about the sleeve's volatility.
    begun = (returns["positions"].fill_null(0) > 0).tail(read).cum_max().to_numpy()
    allocation = allocate(np.where(begun, stocks[-read:], np.nan), coins[-read:].copy(), multiplier, settings, held)
    reason = allocation.reason
    if not len(crypto):
        reason += "; no closes of crypto-currencies are given"
    elif not {symbol for symbols in settings.coins.values() for symbol in symbols} & set(crypto["ticker"]):
        tickers = ", ".join(crypto["ticker"].unique().sort())
        reason += f"; sleeves.coins has none of the symbols that are given: {tickers}"
    return pl.DataFrame(
        {
            "as_of": as_of,
            "equities": allocation.equities,
            "crypto": allocation.crypto,
            "cash": allocation.cash,
            "method": settings.method,
            "multiplier": multiplier,
            "equity_volatility": allocation.equity_volatility,
            "crypto_volatility": allocation.crypto_volatility,
            "portfolio_volatility": allocation.portfolio_volatility,
            "crypto_risk": allocation.crypto_risk,
            "held_equities": held[0] if held else None,
            "held_crypto": held[1] if held else None,
            "rebalanced": allocation.rebalanced,
            "reason": reason,
            "since": since,
        },
        schema=DATASETS["sleeve_allocation"].schema,
    )


def _multiplier(market_regime: pl.DataFrame, as_of: date, settings: SleeveSettings) -> float:
    if settings.regime == "none":
        return 1.0
    multiplier = market_regime.filter(pl.col("as_of") == as_of)["risk_multiplier"].to_list()
    # No row: a market in which no sector has a member.
    return settings.unknown if not multiplier or multiplier[0] is None else float(multiplier[0])


def allocate(
    equity: FloatArray,
    crypto: FloatArray,
    multiplier: float,
    settings: SleeveSettings,
    held: tuple[float, float] | None = None,
) -> Allocation:
    r"""Shares of the sleeves at a session.

    In this order:

    1. Risk parity (`erc`): shares of the two risky sleeves inverse to their volatilities, which for two is equal risk
       whatever their correlation; or mean-variance (`mvo_reg`): the share x of crypto in [0, 1] that maximises
       :math:`\mu^T w - \tfrac{\gamma}{2} w^T (\Sigma + \delta \bar\sigma^2 I) w`. Cash takes no part: it has no
       volatility, and equal risk with it would be all cash.
    2. Each sleeve is scaled down to its volatility target; the rest is cash.
    3. Both are scaled by the regime's multiplier, as far as cash allows; the rest is cash.
    4. Crypto's share of the **variance**, :math:`w_c (\Sigma w)_c / w^T \Sigma w`, is cut to its budget; the cut part
       becomes cash. It is the last step, so the result keeps the budget.
    5. Where no share differs by more than the threshold from the drifted holding, nothing is traded, unless the holding
       exceeds the budget.

    Args:
        equity: daily returns of the equity sleeve up to the session, shape (n_sessions,), NaN where unknown.
        crypto: of crypto, of that shape, at the same sessions.
        multiplier: the regime's exposure.
        settings: method, windows, budget, targets, threshold.
        held: shares of equities and crypto held now, after their drift; None where nothing was held.

    Returns:
        The allocation. A sleeve whose volatility is not known is not bought; with neither all is cash.

    """
    stocks, coins = equity[-settings.volatility_sessions :], crypto[-settings.volatility_sessions :]
    sigma = [_volatility(returns, settings) for returns in (stocks, coins)]
    both = np.isfinite(stocks) & np.isfinite(coins)
    correlation = _correlation(stocks[both], coins[both])
    why: str = settings.method
    if sigma[0] is None and sigma[1] is None:
        shares, why = [0.0, 0.0], "neither sleeve has enough history"
    elif sigma[1] is None:
        shares, why = [1.0, 0.0], "crypto has too little history"
    elif sigma[0] is None:
        shares, why = [0.0, 0.0], "equities have too little history, and crypto alone is above its budget of risk"
    elif settings.method == "erc":
        shares = [sigma[1] / (sigma[0] + sigma[1]), sigma[0] / (sigma[0] + sigma[1])]
    else:
        share = _mean_variance(equity, crypto, (sigma[0], sigma[1]), correlation, settings)
        shares = [1.0 - share, share]
    targets = (settings.equity_volatility, settings.crypto_volatility)
    shares = [
        share * min(1.0, target / deviation) if deviation is not None and deviation > 0.0 else share
        for share, deviation, target in zip(shares, sigma, targets, strict=True)
    ]
    total = sum(shares)
    scale = min(multiplier, 1.0 / total) if total > 0.0 else 0.0
    shares = [share * scale for share in shares]
    if sigma[0] is not None and sigma[1] is not None:
        most = largest_crypto(shares[0], (sigma[0], sigma[1]), correlation, settings.crypto_risk_budget)
        if shares[1] > most:
            shares[1], why = most, f"{why}, crypto at its budget of risk"
    rebalanced = True
    if held is not None and max(abs(new - old) for new, old in zip(shares, held, strict=True)) <= settings.threshold:
        risk = _risk(held, sigma, correlation)[1]
        if risk is None or risk <= settings.crypto_risk_budget + 1e-12:
            shares, rebalanced, why = list(held), False, "within the threshold of what is held"
    volatility, risk = _risk((shares[0], shares[1]), sigma, correlation)
    cash = max(0.0, 1.0 - sum(shares))
    return Allocation(shares[0], shares[1], cash, sigma[0], sigma[1], volatility, risk, rebalanced, why)


def largest_crypto(equities: float, sigma: tuple[float, float], correlation: float, budget: float) -> float:
    """The share of crypto, for a share of equities, whose part of the variance equals the budget.

    With c the share it is the positive root of (1 - b) s_c^2 c^2 + (1 - 2 b) r s_e s_c e c - b s_e^2 e^2.
    """
    a = (1.0 - budget) * sigma[1] ** 2
    b = (1.0 - 2.0 * budget) * correlation * sigma[0] * sigma[1] * equities
    c = -budget * (sigma[0] * equities) ** 2
    root = math.sqrt(b * b - 4.0 * a * c)
    # Both are the positive root; each is without cancellation for its sign of b. A budget of all the variance (a = 0)
    # is a limit only where equities, which fall when crypto rises, take more from the variance than they bring.
    if b > 0.0:
        return -2.0 * c / (b + root)
    return (root - b) / (2.0 * a) if a > 0.0 else math.inf


def drifted(held: tuple[float, float], equity: float, crypto: float) -> tuple[float, float]:
    """Shares after the sleeves' returns since; cash earns nothing."""
    worth = held[0] * (1.0 + equity), held[1] * (1.0 + crypto)
    total = 1.0 - sum(held) + sum(worth)
    return worth[0] / total, worth[1] / total


def _volatility(returns: FloatArray, settings: SleeveSettings) -> float | None:
    finite = returns[np.isfinite(returns)]
    if len(finite) < max(2, math.ceil(settings.volatility_sessions * 0.75)):
        return None
    volatility = float(np.std(finite, ddof=1)) * math.sqrt(SESSIONS_PER_YEAR)
    return volatility if volatility > 1e-12 else None


def _correlation(one: FloatArray, other: FloatArray) -> float:
    """0 where one of the two is constant or too few returns are known."""
    if len(one) < 3 or np.std(one) == 0.0 or np.std(other) == 0.0:
        return 0.0
    return float(np.clip(np.corrcoef(one, other)[0, 1], -1.0, 1.0))


def _mean_variance(
    equity: FloatArray, crypto: FloatArray, sigma: tuple[float, float], correlation: float, settings: SleeveSettings
) -> float:
    window = settings.mean_sessions
    means = [float(np.nanmean(returns[-window:])) * SESSIONS_PER_YEAR for returns in (equity, crypto)]
    ridge = settings.ridge * (sigma[0] ** 2 + sigma[1] ** 2) / 2.0
    first, second, both = sigma[0] ** 2 + ridge, sigma[1] ** 2 + ridge, correlation * sigma[0] * sigma[1]
    curvature = settings.risk_aversion * (first + second - 2.0 * both)
    slope = means[1] - means[0] + settings.risk_aversion * (first - both)
    return min(1.0, max(0.0, slope / curvature)) if curvature > 0.0 else float(slope > 0.0)


def _risk(
    shares: tuple[float, float], sigma: list[float | None], correlation: float
) -> tuple[float | None, float | None]:
    """Volatility of the portfolio and crypto's share of the variance; None where a held sleeve has no volatility."""
    if any(share > 0.0 and deviation is None for share, deviation in zip(shares, sigma, strict=True)):
        return None, None
    e, c = (share * (deviation or 0.0) for share, deviation in zip(shares, sigma, strict=True))
    variance = e * e + c * c + 2.0 * correlation * e * c
    if variance <= 0.0:
        return 0.0, None
    return math.sqrt(variance), (c * c + correlation * e * c) / variance
