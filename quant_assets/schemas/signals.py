"""Datasets of the signals group: indicators, candidates, model inputs and labels."""

import polars as pl

from quant_assets.schemas.columns import HORIZON, as_of, day, price, ratio, ticker
from quant_assets.schemas.dataset import Column, Dataset
from quant_assets.schemas.market import OHLCV_QUANTITIES

_TECHNICAL = {
    "rsi_14": Column(pl.Float64, "relative strength index over 14 sessions (Wilder 1978)", "percent", nullable=True, ge=0, le=100),
    "macd": ratio("MACD line (EMA 12 - EMA 26) over the close (Appel 1979)"),
    "macd_signal": ratio("EMA 9 of the MACD line, over the close"),
    "macd_histogram": ratio("MACD line less its signal, over the close"),
    "return_1": ratio("return over 1 session", gt=-1),
    "return_5": ratio("return over 5 sessions", gt=-1),
    "return_20": ratio("return over 20 sessions", gt=-1),
    "return_60": ratio("return over 60 sessions", gt=-1),
    "return_120": ratio("return over 120 sessions", gt=-1),
    "return_252": ratio("return over 252 sessions", gt=-1),
    "realised_volatility_20": ratio("annualised standard deviation of daily log returns over 20 sessions", ge=0),
    "realised_volatility_60": ratio("annualised standard deviation of daily log returns over 60 sessions", ge=0),
    "high_52w_distance": ratio("close over the highest close of 252 sessions, less 1", le=0),
    "volume_zscore_20": ratio("volume against mean and standard deviation of 20 sessions"),
    "beta_120": ratio("slope of the daily return on the equal-weight return of the sector's members at the time, over 120 sessions"),
}

_FUNDAMENTAL = {
    "earnings_yield": ratio("net income of the newest known year (four quarters or an annual statement) over market value"),
    "book_to_market": ratio("newest known total equity over market value"),
    "return_on_equity": ratio("net income of the newest known year over total equity"),
    "debt_to_equity": ratio("newest known total debt over newest known total equity"),
    "gross_margin": ratio("gross profit over revenue of the newest year with both"),
    "operating_margin": ratio("operating income over revenue of the newest year with both"),
    "net_margin": ratio("net income over revenue of the newest year with both"),
    "revenue_growth": ratio("revenue of the newest year whose year before is known, over that of the year before, less 1"),
    "earnings_growth": ratio(
        "net income of the newest year whose year before is known, less that of the year before, over its absolute value"
    ),
    "statement_age_days": Column(pl.Float64, "calendar days since the newest known statement was published", "days", nullable=True, ge=0),
}

#: Model inputs, in the order in which models see them.
FEATURES: tuple[str, ...] = tuple(f"{name}_to_peak" for name in OHLCV_QUANTITIES) + tuple(_TECHNICAL) + tuple(_FUNDAMENTAL)

SIGNALS = (
    Dataset(
        "indicators",
        "Moving average and slope, momentum and GARCH volatility with the sector's windows",
        ("ticker", "date"),
        "date",
        "date",
        {
            "ticker": ticker(),
            "date": day(),
            "close": price("adjusted close"),
            "moving_average": Column(pl.Float64, "mean adjusted close over the `moving_average` of the sector", "USD", nullable=True, gt=0),
            "ma_slope": ratio("moving average over itself `slope_sessions` before, less 1"),
            "momentum": ratio("return over the sector's `momentum_lag` sessions", gt=-1),
            "garch_volatility": ratio("annualised one-step-ahead GARCH(1,1) volatility", ge=0),
            "garch_fitted_on": Column(pl.Date, "last session of the window that the GARCH parameters were fitted on", nullable=True),
            "dollar_volume": Column(
                pl.Float64,
                "median as-traded dollar volume over `liquidity_sessions`; null where it is not known, which is not illiquid",
                "USD",
                nullable=True,
                ge=0,
            ),
            "history_sessions": Column(pl.Int32, "sessions with a bar among the last `history_sessions` of the settings", "sessions", ge=1),
        },
    ),
    Dataset(
        "candidates",
        "Long and short candidates by composite score at the month's last session",
        ("ticker", "as_of"),
        "as_of",
        "as_of",
        {
            "ticker": ticker(),
            "as_of": as_of(),
            "candidate_type": Column(pl.String, "side", isin=("long", "short")),
            "selection_rank": Column(pl.Int32, "1 is the highest score among longs, the lowest among shorts", ge=1),
            "composite_score": Column(pl.Float64, "weighted sum of the three parts", "standard deviations"),
            "momentum_score": Column(pl.Float64, "momentum, standardised across the sector", "standard deviations"),
            "ma_slope_score": Column(pl.Float64, "moving-average slope, standardised across the sector", "standard deviations"),
            "volatility_score": Column(
                pl.Float64, "preference for low GARCH volatility, standardised; 0 where missing", "standard deviations"
            ),
            "universe_count": Column(pl.Int32, "members of the sector at as_of", ge=1),
            "eligible_count": Column(pl.Int32, "members that passed the filters", ge=1),
        },
    ),
    Dataset(
        "features",
        "Model inputs of each member and session",
        ("ticker", "date"),
        "date",
        "date",
        {"ticker": ticker(), "date": day()}
        | {f"{name}_to_peak": ratio(f"{name.replace('_', ' ')} over its running maximum so far", ge=0, le=1) for name in OHLCV_QUANTITIES}
        | _TECHNICAL
        | _FUNDAMENTAL,
    ),
    Dataset(
        "labels",
        "Forward returns; a row is absent until its last price is known",
        ("ticker", "date", "horizon"),
        "date",
        "known_at",
        {
            "ticker": ticker(),
            "date": day("session whose close gives the signal"),
            "horizon": HORIZON,
            "forward_return": ratio("adjusted return from entry to exit", nullable=False, ge=-1),
            "entry_date": day("session at whose close the position is entered"),
            "exit_date": day("session of the last price used"),
            "known_at": day("session at which the last price needed had closed, or the delisting was known"),
            "delisted": Column(pl.Boolean, "true where a delisting within the horizon ended the label at the last price"),
        },
    ),
)
