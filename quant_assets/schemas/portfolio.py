"""Datasets of the portfolio group: regimes, weights and what came of them."""

import polars as pl

from quant_assets.grains import MONTHLY
from quant_assets.schemas.columns import LEARNED, as_of, day, ratio, ticker
from quant_assets.schemas.dataset import Column, Dataset, Reference
from quant_assets.settings.sectors import SECTORS

#: A track record follows from weights, and from where it began to be counted.
_COUNTED = f"counted from the first month that was computed; {LEARNED}"


def _track_record() -> dict[str, Column]:
    """Columns of a track record: what the next month needs, and the figures to date."""
    return {
        "as_of": as_of(),
        "since": Column(
            pl.Date,
            "first session counted, that of the first execution in the months that were computed; "
            "null before it, like every figure",
            nullable=True,
        ),
        "sessions": Column(pl.Int32, "sessions counted, from `since` to `as_of`", "sessions", ge=0),
        "mean_return": ratio("mean daily net return"),
        "squared_deviations": ratio("sum of the squared deviations of the daily net returns from their mean", ge=0),
        "equity": ratio("value of 1 invested before `since`, after costs", ge=0),
        "peak_equity": ratio("highest value so far, the 1 at the start included", ge=1),
        "total_return": ratio("return from `since` to `as_of`, after costs", ge=-1),
        "annualised_volatility": Column(
            pl.Float64, "annualised deviation of the daily net returns", "1 per year", nullable=True, ge=0
        ),
        "sharpe": ratio("annualised Sharpe ratio of the daily net returns, with a risk-free rate of 0"),
        "drawdown": ratio("loss against the highest value so far, as a positive fraction", ge=0, le=1),
        "max_drawdown": ratio("largest `drawdown` so far", ge=0, le=1),
    }


def _regime(whose: str) -> dict[str, Column]:
    """Columns of a regime, of a sector or of the market."""
    states = ("risk_off", "normal", "risk_on", "unknown")
    return {
        "as_of": as_of(),
        "regime": Column(
            pl.String,
            "risk_off where volatility or drawdown is above its threshold (settings regime), else risk_on",
            isin=("risk_on", "risk_off"),
        ),
        "volatility": ratio(f"annualised volatility of {whose} equal-weight return", ge=0),
        "drawdown": ratio(
            f"{whose} equal-weight index against its highest close of the window, as a positive fraction",
            ge=0,
            le=1,
        ),
        "reason": Column(pl.String, "which thresholds were crossed, or that history is too short"),
        "state": Column(pl.String, "by the rules or the Markov model, as `detection` says", isin=states),
        "detection": Column(pl.String, "what `state` is by", isin=("rules", "markov")),
        "risk_multiplier": ratio("exposure that the settings give to `state`; null where it is unknown", ge=0),
        "rule_state": Column(pl.String, "by the rules; unknown where history is too short", isin=states),
        "rule_volatility": ratio("annualised volatility of the rules' window", ge=0),
        "rule_trend": ratio("short mean of the index over the long one, less 1"),
        "rule_reason": Column(pl.String, "which rules decided, or what is not known"),
        "markov_state": Column(
            pl.String,
            "most probable regime of the Markov model; unknown where history is too short, null without a model",
            nullable=True,
            isin=states,
        ),
        "markov_risk_off": ratio("filtered probability of the most volatile state", ge=0, le=1 + 1e-9),
        "markov_normal": ratio("filtered probability of the states between", ge=0, le=1 + 1e-9),
        "markov_risk_on": ratio("filtered probability of the calmest state", ge=0, le=1 + 1e-9),
        **{
            f"markov_{number}": ratio(
                f"filtered probability of state {number}, 1 being the calmest; null where there are fewer states",
                ge=0,
                le=1 + 1e-9,
            )
            for number in (1, 2, 3, 4)
        },
        "markov_volatility": ratio("annualised volatility that the model expects of the next session", ge=0),
        "markov_fitted_to": Column(pl.Date, "last session that the model was fitted on", nullable=True),
        "markov_reason": Column(pl.String, "why the model gives no regime", nullable=True),
    }


PORTFOLIO = (
    Dataset(
        "regime_state",
        "Risk-on or risk-off of the sector at the month's last session",
        ("as_of",),
        "as_of",
        "as_of",
        _regime("the sector's"),
        across="sector",
        references=(Reference(("as_of",), "universe", ("date",)),),
    ),
    Dataset(
        "weights",
        "Weights decided at the month's last session, executed from the next session on; shorts are negative",
        ("ticker", "as_of"),
        "as_of",
        "as_of",
        {
            "ticker": ticker(),
            "as_of": as_of(),
            "weight": ratio(
                "share of the sector's capital, negative where the name is short", nullable=False, ge=-1, le=1
            ),
            "rank": Column(
                pl.Int32,
                "1 is the long with the best score; shorts follow the longs, the one with the worst first",
                ge=1,
            ),
            "score": Column(
                pl.Float64,
                "what the names were ranked by; null for a name that is no candidate any more and that "
                "`weights.constraints.max_turnover` keeps",
                nullable=True,
            ),
            "score_source": Column(
                pl.String,
                "whether `score` is a model's forecast or, without one, the candidates' selection score",
                isin=("prediction", "composite_score"),
            ),
            "volatility": ratio(
                "annualised GARCH volatility, the median of the others' where a name has none; "
                "the weight is inverse to it where `weights.method` says so",
                gt=0,
            ),
        },
        across="sector",
        anchored=LEARNED,
        unique=(("as_of", "rank"),),
        references=(Reference(("ticker", "as_of"), "indicators", ("ticker", "date")),),
    ),
    Dataset(
        "backtest",
        "Daily result of holding the weights of the months before",
        ("date",),
        "date",
        "date",
        {
            "date": day(),
            "gross_return": ratio("return of the holdings before costs", nullable=False, ge=-1),
            "cost": ratio("costs over equity", nullable=False, ge=0),
            "net_return": ratio("return after costs", nullable=False, ge=-1),
            "turnover": ratio("traded value over equity, buys plus sells", nullable=False, ge=0),
            "equity": ratio("value of 1 invested at the close of the previous month", nullable=False, ge=0),
            "benchmark_return": ratio("equal-weight return of the sector's members", nullable=True, gt=-1),
            "positions": Column(pl.Int32, "names held after the close", ge=0),
            "cash": ratio("share of equity in cash after the close; above 1 by what was sold short", nullable=False),
            "unexplained": Column(
                pl.Int32,
                "names held with a step of the price that nothing explains and that does not count as it is: a rise "
                "earns nothing, and a fall loses nothing as far as it takes one back",
                ge=0,
            ),
            "index_return": ratio(
                "return of the index or fund of `backtest.benchmark`; null where none is named, or before it begins",
                gt=-1,
            ),
        },
        across="sector",
        anchored=LEARNED,
    ),
    Dataset(
        "track_record",
        "Where the sector's backtest stands, from its first execution to the decision, carried from month to month",
        ("as_of",),
        "as_of",
        "as_of",
        _track_record(),
        across="sector",
        anchored=_COUNTED,
    ),
    Dataset(
        "market_regime",
        "Regime of all sectors together at the month's last session",
        ("as_of",),
        "as_of",
        "as_of",
        {
            **_regime("the market's"),
            "sectors": Column(pl.Int32, "how many sectors the market's index is made of at as_of", "sectors", ge=1),
        },
        grain=MONTHLY,
        across="market",
    ),
    Dataset(
        "portfolio_weights",
        "The total portfolio: every sector's weights times the sector's share",
        ("sector", "ticker", "as_of"),
        "as_of",
        "as_of",
        {
            "sector": Column(pl.String, "GICS sector, by its short name such as `it`", isin=tuple(SECTORS)),
            "ticker": ticker(),
            "as_of": as_of(),
            "weight": ratio(
                "share of total capital, sector share times exposure; negative where the name is short",
                nullable=False,
                ge=-2,
                le=2,
            ),
            "sector_share": ratio("share of the sector in what is invested", nullable=False, gt=0, le=1),
        },
        grain=MONTHLY,
        across="market",
        anchored=LEARNED,
    ),
    Dataset(
        "portfolio_backtest",
        "Daily result of the total portfolio, rebalanced to the sector shares at each month's first execution",
        ("date",),
        "date",
        "date",
        {
            "date": day(),
            "gross_return": ratio("return before costs", nullable=False, ge=-1),
            "cost": ratio("costs over equity", nullable=False, ge=0),
            "net_return": ratio("return after costs", nullable=False, ge=-1),
            "turnover": ratio("traded value over equity, buys plus sells", nullable=False, ge=0),
            "equity": ratio("value of 1 invested at the close of the previous month", nullable=False, ge=0),
            "positions": Column(pl.Int32, "names held after the close", ge=0),
            "cash": ratio("share of equity in cash after the close; above 1 by what was sold short", nullable=False),
            "unexplained": Column(
                pl.Int32,
                "names held with a step of the price that nothing explains and that does not count as it is: a rise "
                "earns nothing, and a fall loses nothing as far as it takes one back",
                ge=0,
            ),
            "index_return": ratio(
                "return of the index or fund of `backtest.benchmark`; null where none is named, or before it begins",
                gt=-1,
            ),
        },
        grain=MONTHLY,
        across="market",
        anchored=LEARNED,
    ),
    Dataset(
        "portfolio_track_record",
        "Where the total portfolio's backtest stands, from its first execution to the decision, carried on by month",
        ("as_of",),
        "as_of",
        "as_of",
        _track_record(),
        grain=MONTHLY,
        across="market",
        anchored=_COUNTED,
    ),
)
