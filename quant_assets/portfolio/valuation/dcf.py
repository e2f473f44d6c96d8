"""Discounted cash flow in two stages: the value of a company and of its share, or the reason why there is none.

References:
    Damodaran (2012), Investment valuation, 3rd edition, chapters 12 and 14 (the two-stage model of free cash flow to
    the firm). Koller, Goedhart and Wessels (2020), Valuation, 7th edition, chapter 10.

"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_assets.errors import SettingsError
from quant_assets.market.panel import FloatArray

#: Reasons for a missing value; the first one that applies is used.
NO_CASH_FLOW = "free cash flow is not known"
NO_GROWTH = "growth of revenue is not known"
NO_NET_DEBT = "net debt is not known"
NO_SHARES = "the number of shares is not known"
NEGATIVE_FLOW = "free cash flow is not positive"
RATE_TOO_LOW = "the discount rate is not above terminal growth"
NEGATIVE_EQUITY = "net debt exceeds the value of the enterprise"
REASONS = (NO_CASH_FLOW, NO_GROWTH, NO_NET_DEBT, NO_SHARES, NEGATIVE_FLOW, RATE_TOO_LOW, NEGATIVE_EQUITY)


@dataclass(frozen=True)
class Valuation:
    """Values of companies, arrays of the broadcast shape of the arguments.

    Attributes:
        enterprise: NaN without a value.
        equity: enterprise value less net debt, which may be negative; NaN without a value.
        per_share: NaN where equity is not positive too.
        reason: one of `REASONS` where `per_share` is NaN, else empty.

    """

    enterprise: FloatArray
    equity: FloatArray
    per_share: FloatArray
    reason: NDArray[np.object_]


def two_stage(
    free_cash_flow: ArrayLike,
    growth: ArrayLike,
    net_debt: ArrayLike,
    shares: ArrayLike,
    *,
    wacc: ArrayLike,
    terminal_growth: ArrayLike,
    years: int,
) -> Valuation:
    r"""Values of companies by their free cash flow; a NaN argument is unknown.

    Free cash flow :math:`F` grows by :math:`g` a year for :math:`n` years and by :math:`g_T` for ever after. Discounted
    at :math:`w`, the weighted average cost of capital, with flows at the ends of years:

    .. math:: EV = \sum_{t=1}^n F \left(\frac{1 + g}{1 + w}\right)^t
        + \left(\frac{1 + g}{1 + w}\right)^n \frac{F (1 + g_T)}{w - g_T}

    Equity is :math:`EV` less net debt, and a share's value is equity over the number of shares. This holds for a flow
    before interest, which belongs to creditors too. A flow after interest belongs to the shareholders: discounted at
    the cost of equity, with a net debt of 0, the formula gives equity directly (Damodaran 2012, chapter 14).

    Args:
        free_cash_flow: of the newest year, in the currency of the value.
        growth: per year, in the first stage.
        net_debt: in the same currency; negative is net cash; 0 for a flow after interest.
        shares: outstanding.
        wacc: discount rate per year; the cost of equity for a flow after interest.
        terminal_growth: per year, after the first stage.
        years: of the first stage, at least 1.

    Raises:
        SettingsError: `years` is less than 1.

    """
    if years < 1:
        raise SettingsError(f"a first stage of {years} years has no flow; use at least 1")
    inputs = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (free_cash_flow, growth, net_debt, shares)))
    flow, rate, debt, count, discount, final = np.broadcast_arrays(
        *inputs, np.asarray(wacc), np.asarray(terminal_growth)
    )
    applies = (
        np.isnan(flow),
        np.isnan(rate),
        np.isnan(debt),
        ~(count > 0.0),
        ~(flow > 0.0),
        ~(discount > final),
    )
    valued = ~np.logical_or.reduce(applies)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        step = (1.0 + rate) / (1.0 + discount)
        # Products instead of powers: NumPy's powers differ in the last bit with the array's length.
        factor, total = np.ones(flow.shape), np.zeros(flow.shape)
        for _ in range(years):
            factor = factor * step
            total = total + factor
        enterprise = np.where(valued, flow * (total + factor * (1.0 + final) / (discount - final)), np.nan)
        equity = enterprise - debt
        per_share = np.where(equity > 0.0, equity / count, np.nan)
    reason = np.select(
        [*applies, ~(equity > 0.0)], [np.array(text, dtype=object) for text in REASONS], np.array("", dtype=object)
    )
    return Valuation(enterprise, equity, per_share, reason)


@dataclass(frozen=True)
class Grid:
    """Value of a share by discount rate and growth.

    Attributes:
        waccs: discount rates, ascending, shape (n_waccs,).
        growths: of the first stage, ascending, shape (n_growths,).
        per_share: shape (n_waccs, n_growths), NaN where there is no value.

    """

    waccs: FloatArray
    growths: FloatArray
    per_share: FloatArray


def grid(
    free_cash_flow: float,
    growth: float,
    net_debt: float,
    shares: float,
    *,
    wacc: float,
    terminal_growth: float,
    years: int,
    wacc_steps: Sequence[float],
    growth_steps: Sequence[float],
) -> Grid:
    """The values of `two_stage` for rates around the assumed ones, to which the `…_steps` are added."""
    waccs = wacc + np.sort(np.asarray(wacc_steps, dtype=np.float64))
    growths = growth + np.sort(np.asarray(growth_steps, dtype=np.float64))
    values = two_stage(
        free_cash_flow,
        growths[None, :],
        net_debt,
        shares,
        wacc=waccs[:, None],
        terminal_growth=terminal_growth,
        years=years,
    )
    return Grid(waccs, growths, values.per_share)
