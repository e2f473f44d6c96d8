"""Datasets of the decision engine: what is thought of every member at a decision, before anything is chosen."""

import polars as pl

from quant_assets.schemas.columns import LEARNED, MEMBER_AS_OF, as_of, money, ratio, ticker
from quant_assets.schemas.dataset import Column, Dataset


def _score(meaning: str) -> Column:
    return Column(pl.Float64, meaning, "0 to 100", nullable=True, ge=0, le=100)


def _per_share(meaning: str) -> Column:
    return Column(pl.Float64, meaning, "USD", nullable=True, gt=0)


DECISIONS = (
    Dataset(
        "scores",
        "Scores of every member at the month's last session, its fair value, and whether to buy, hold or sell",
        ("ticker", "as_of"),
        "as_of",
        "as_of",
        {
            "ticker": ticker(),
            "as_of": as_of(),
            "valuation": _score("mean percentile of the inputs of valuation that are known; null where none is"),
            "quality": _score("mean percentile of the inputs of quality that are known; null where none is"),
            "momentum": _score("weighted mean of `technical` and `ml`, or the one of them that is known"),
            "risk": _score("mean percentile of the inputs of risk; 100 is the least risk"),
            "composite": _score("weighted mean of the four scores that are known"),
            "known_share": ratio("share of the factors' weights whose scores are known", nullable=False, ge=0, le=1),
            "recommendation": Column(
                pl.String,
                "by the cuts of settings scores; null where too little is known (`scores.min_known`)",
                nullable=True,
                isin=("buy", "hold", "sell"),
            ),
            "missing": Column(pl.String, "inputs that are not known, by commas; `ml` where nothing was forecast"),
            "technical": _score("mean percentile of the technical inputs of momentum"),
            "ml": _score("percentile of `ml_signal`"),
            "ml_signal": ratio(
                "mean over horizons and models of the forecast over its deviation, times `ml_confidence`"
            ),
            "ml_confidence": ratio("mean over horizons and models of the confidence", ge=0, le=1),
            "ml_forecasts": Column(pl.Int32, "forecasts of the session that count, the ensemble's apart", ge=0),
            "close_unadjusted": _per_share("last price of the session as traded, without later splits and dividends"),
            "fair_value": _per_share("value of a share by discounted cash flow"),
            "upside": ratio("`fair_value` over the close as traded, less 1; an input of valuation", gt=-1),
            "no_fair_value": Column(pl.String, "why there is no `fair_value`", nullable=True),
            "graham_value": _per_share("Graham's number: the root of 22.5 times earnings and book of a share"),
            "price_to_earnings": ratio(
                "market value over net income of the newest known year; null after a loss", gt=0
            ),
            "price_to_book": ratio("market value over newest known equity; null where that is not positive", gt=0),
            "ev_to_ebitda": ratio("enterprise value over EBITDA; null where one of the two is not positive", gt=0),
            "earnings_yield": ratio("input of valuation: net income over market value"),
            "book_to_market": ratio("input of valuation: equity over market value"),
            "ebitda_yield": ratio("input of valuation: EBITDA over enterprise value"),
            "return_on_equity": ratio("input of quality: net income over equity"),
            "return_on_assets": ratio("input of quality: net income over total assets"),
            "operating_margin": ratio("input of quality: operating income over revenue"),
            "net_margin": ratio("input of quality: net income over revenue"),
            "debt_to_equity": ratio("input of quality, low is good: debt over equity"),
            "momentum_12_1": ratio("input of `technical`: return from 252 to 21 sessions before", gt=-1),
            "momentum_6_1": ratio("input of `technical`: return from 126 to 21 sessions before", gt=-1),
            "sma_distance_200": ratio("input of `technical`: close over its mean of 200 sessions, less 1", gt=-1),
            "high_52w_distance": ratio(
                "input of `technical`: close over its highest of 252 sessions, less 1", gt=-1, le=0
            ),
            "realised_volatility_60": ratio(
                "input of risk, low is good: annualised deviation of the log returns of 60 sessions", ge=0
            ),
            "beta_120": ratio("input of risk, low is good: slope of the returns on the sector's over 120 sessions"),
            "drawdown_252": ratio("input of risk, low is good: largest drawdown over 252 sessions", ge=0, le=1),
            "amihud_120": Column(
                pl.Float64,
                "input of risk, low is good: mean of absolute return over dollar volume of 120 sessions",
                "1 / million USD",
                nullable=True,
                ge=0,
            ),
            "revenue_growth": ratio("revenue of the newest known year over that of the year before, less 1"),
            "free_cash_flow": money("cash flow from operations less investment in fixed assets, of the newest year"),
            "net_debt": money("debt less cash, newest known"),
            "shares_outstanding": Column(pl.Float64, "shares, later splits applied", "shares", nullable=True, gt=0),
            "market_value": Column(pl.Float64, "close as traded times shares outstanding", "USD", nullable=True, gt=0),
            "operating_profitability": ratio("operating income over equity, for the sorts of factor returns"),
            "asset_growth": ratio("total assets over those of a year before, less 1, for the same", gt=-1),
            "statement_age_days": Column(
                pl.Float64, "calendar days since the newest statement was published", "days", nullable=True, ge=0
            ),
        },
        across="sector",
        anchored=LEARNED,
        references=(MEMBER_AS_OF,),
    ),
)
