"""Three regimes by fixed rules on volatility, drawdown and trend.

Risk-off if volatility is high, the drawdown deep, or there is no uptrend; risk-on if volatility is low, the drawdown
shallow and there is an uptrend; normal in between; unknown if one of the three is unknown. An unknown mean is no
evidence of a downtrend.
"""

from typing import NamedTuple

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.settings.risk import RegimeRules

#: The regimes, from the least to the most exposure.
RISK_OFF, NORMAL, RISK_ON, UNKNOWN = STATES = ("risk_off", "normal", "risk_on", "unknown")


class Ruled(NamedTuple):
    """Result of the rules.

    Attributes:
        state: the regime.
        volatility: annualised, None where unknown.
        trend: short mean of the index over the long one, less 1; None where unknown.
        reason: the deciding rules.

    """

    state: str
    volatility: float | None
    trend: float | None
    reason: str


def trend(returns: FloatArray, short: int) -> float | None:
    """Mean of the index at its last `short` closes over its mean at all of them, less 1.

    Args:
        returns: those between the closes of the long mean, shape (long_mean - 1,); the index is 1 before the first.
        short: closes of the short mean.

    Returns:
        None where a return is missing (NaN): the mean is not known.

    """
    if not np.isfinite(returns).all():
        return None
    index = np.cumprod(np.concatenate([[1.0], 1.0 + returns]))
    return float(index[-short:].mean() / index.mean() - 1.0)


def judge(volatility: float | None, drawdown: float | None, rise: float | None, rules: RegimeRules) -> Ruled:
    """The regime by the rules.

    Args:
        volatility: annualised, of the last `volatility_sessions` returns.
        drawdown: loss against the window's high, as a positive fraction.
        rise: see `trend`.
        rules: thresholds.

    """
    missing = [
        f"{name} not known"
        for name, value in (("volatility", volatility), ("drawdown", drawdown), ("trend", rise))
        if value is None
    ]
    if volatility is None or drawdown is None or rise is None:
        return Ruled(UNKNOWN, volatility, rise, f"history too short: {', '.join(missing)}")
    against = []
    if volatility > rules.high_volatility:
        against.append(f"volatility {volatility:.1%} above {rules.high_volatility:.1%}")
    if drawdown > rules.deep_drawdown:
        against.append(f"drawdown {drawdown:.1%} above {rules.deep_drawdown:.1%}")
    if not rise > 0.0:
        against.append(f"no uptrend: {rules.short_mean}-session mean {rise:+.1%} of the {rules.long_mean}-session mean")
    if against:
        return Ruled(RISK_OFF, volatility, rise, "; ".join(against))
    calm = volatility < rules.low_volatility and drawdown < rules.shallow_drawdown
    reason = f"volatility {volatility:.1%}, drawdown {drawdown:.1%}, trend {rise:+.1%}"
    return Ruled(RISK_ON if calm else NORMAL, volatility, rise, reason)
