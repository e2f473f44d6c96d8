"""Factor returns of the profile's own universe, where no published ones are available: long-short portfolios by scores.

They follow Fama and French, with the data at hand. At each decision the names are split in two by the
median of market value and in three by the 30th and 70th percentile of a characteristic; each of the six groups is held
by market value until the next decision. A factor is the mean of the two groups at one end less the mean of the two at
the other; `smb` is the mean of the three groups of small names less that of the big ones, split by book to market.
`mkt_rf` is the return of all names by market value, without subtracting a risk-free rate.

They differ from the published factors: the universe is that of the profile (large companies of an index, the stored
sectors), breakpoints come from it, portfolios are formed each month, and profitability is before interest.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.backtest.factor_returns import FactorReturns
from quant_assets.market.containment import counted
from quant_assets.market.panel import BoolArray, FloatArray, Panel

#: Characteristic of each factor, and whether high or low values are held long.
_SORTED_BY = {
    "hml": ("book_to_market", 1),
    "rmw": ("operating_profitability", 1),
    "cma": ("asset_growth", -1),
    "mom": ("momentum_12_1", 1),
}
_LOW, _HIGH = 30.0, 70.0
#: With fewer names with the characteristic, a factor has no return until the next decision.
FEWEST = 12

#: Required columns of dataset scores.
COLUMNS = ("ticker", "as_of", "market_value", *(name for name, _ in _SORTED_BY.values()))


def own_factors(
    scores: pl.DataFrame, prices: pl.DataFrame, sessions: NDArray[np.datetime64], through: date
) -> FactorReturns:
    """Daily factor returns of a universe.

    Args:
        scores: `COLUMNS` of dataset scores, of all stored sectors; a ticker once for each `as_of`.
        prices: `ticker, date, listed, close, unexplained` of dataset prices of these names; a ticker once for each
            date. Unexplained steps count by the rule of `market.containment`; where the rule gives none, as no return.
        sessions: sessions without a gap from the first decision on.
        through: last session.

    Returns:
        Daily returns from the session after the first decision on. A return depends on the prices of the session and
        the decision alone, which determines the weights. Null where a group has no name.

    """
    panel = Panel.from_long(prices, sessions, ["close", "unexplained"])
    growth = _growth(panel["close"], panel["unexplained"] == 1.0)
    decisions = [day for day in scores["as_of"].unique().sort().to_list() if day < through]
    ends = [*decisions[1:], through]
    parts = []
    for as_of, until in zip(decisions, ends, strict=True):
        start, stop = (int(np.searchsorted(sessions, np.datetime64(day))) for day in (as_of, until))
        names = scores.filter(pl.col("as_of") == as_of).sort("ticker").select("ticker", *COLUMNS[2:], date="as_of")
        rows = panel.rows(names)
        names, rows = names.filter(pl.Series(rows >= 0)), rows[rows >= 0]
        held = np.column_stack([np.ones(len(rows)), growth[rows, start + 1 : stop + 1].cumprod(axis=1)])
        figures = {name: names[name].fill_null(np.nan).to_numpy() for name in COLUMNS[2:]}
        returns = _until_the_next(held, figures)
        days = pl.Series(sessions[start + 1 : stop + 1], dtype=pl.Date)
        parts.append(pl.DataFrame({"period": days, **returns}))
    schema = {"period": pl.Date, **dict.fromkeys(("mkt_rf", "smb", *_SORTED_BY), pl.Float64)}
    frame = pl.concat([pl.DataFrame(schema=schema), *(part.select(list(schema)) for part in parts)])
    return FactorReturns("daily", frame.fill_nan(None), "long-short returns of the profile's own universe")


def _until_the_next(held: FloatArray, figures: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Returns of each session after a decision; `held` is worth 1 then, shape (n_names, 1 + n_sessions)."""
    value = figures["market_value"]
    priced = value > 0.0
    missing = np.full(held.shape[1] - 1, np.nan)
    returns = {"mkt_rf": _returns(held, value, priced)} | dict.fromkeys(("smb", *_SORTED_BY), missing)
    for factor, (characteristic, sign) in _SORTED_BY.items():
        scores = figures[characteristic]
        used = priced & ~np.isnan(scores)
        if used.sum() < FEWEST:
            continue
        small = used & (value <= np.median(value[used]))
        low, high = np.percentile(scores[used], (_LOW, _HIGH))
        thirds: Sequence[BoolArray] = (scores <= low, (scores > low) & (scores < high), scores >= high)
        groups = [[_returns(held, value, size & third) for third in thirds] for size in (small, used & ~small)]
        ends = [(groups[0][third] + groups[1][third]) / 2.0 for third in (0, 2)]
        returns[factor] = sign * (ends[1] - ends[0])
        if factor == "hml":
            returns["smb"] = np.mean(groups[0], axis=0) - np.mean(groups[1], axis=0)
    return returns


def _returns(held: FloatArray, value: FloatArray, chosen: BoolArray) -> FloatArray:
    """Daily returns of a buy-and-hold portfolio of some names, by market value at the first session."""
    if not chosen.any():
        return np.full(held.shape[1] - 1, np.nan)
    worth = (held[chosen] * value[chosen, None]).sum(axis=0)
    returns: FloatArray = worth[1:] / worth[:-1] - 1.0
    return returns


def _growth(close: FloatArray, unexplained: BoolArray) -> FloatArray:
    """Each bar's close over that of the bar before, 1 without a bar: who left is cash until the next decision."""
    traded = ~np.isnan(close)
    last = np.maximum.accumulate(np.where(traded, np.arange(close.shape[1]), -1), axis=1)
    before = np.column_stack([np.full(len(close), -1), last[:, :-1]])
    base = np.where(before >= 0, np.take_along_axis(close, np.maximum(before, 0), axis=1), np.nan)
    growth: FloatArray = 1.0 + np.nan_to_num(counted(close / base - 1.0, close, unexplained))
    return growth
