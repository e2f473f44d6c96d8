"""The one registry of datasets: columns, dtypes, units, meaning, key, and which column says when a row became known.

The IO manager, the asset checks, the column schemas and descriptions in the web UI and the README's table are all
derived from `DATASETS`. Computation does not live here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from polars.datatypes import DataType, DataTypeClass

from quant_assets.errors import DatasetError
from quant_assets.settings import SECTORS


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        dtype: Polars type.
        meaning: what a value says, for a reader who has only the file.
        unit: for example "USD", "1" (a ratio), "shares", "sessions"; empty for labels and dates.
        nullable: whether null (missing, not yet known, not enough history) is legal.
        ge, gt, le: inclusive lower, exclusive lower and inclusive upper bound.
        isin: the only legal values.

    """

    dtype: DataTypeClass | DataType
    meaning: str
    unit: str = ""
    nullable: bool = False
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    isin: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Dataset:
    """One dataset.

    Attributes:
        name: asset name and folder name.
        meaning: one sentence.
        key: columns that identify a row within its sector (or within the whole, at month grain).
        dated_by: the date column whose month is the row's partition.
        known_at: the date column that says when the row became known.
        columns: in file order, without `sector` and `month`, which are in the path.
        grain: "sector" for sector x month, "month" for month only.

    """

    name: str
    meaning: str
    key: tuple[str, ...]
    dated_by: str
    known_at: str
    columns: Mapping[str, Column]
    grain: Literal["sector", "month"] = "sector"

    @property
    def schema(self) -> pl.Schema:
        """Polars schema of a file."""
        return pl.Schema({name: column.dtype for name, column in self.columns.items()})

    @property
    def loaded_schema(self) -> pl.Schema:
        """Schema of a loaded frame: `sector` (at sector grain) and `month`, then the file's columns."""
        head: dict[str, Any] = {"sector": pl.String, "month": pl.String} if self.grain == "sector" else {"month": pl.String}
        return pl.Schema(head | dict(self.schema))

    def empty(self) -> pl.DataFrame:
        """A frame without rows, `sector` included at sector grain."""
        head: dict[str, Any] = {"sector": pl.String} if self.grain == "sector" else {}
        return pl.DataFrame(schema=head | dict(self.schema))

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Select the columns in order and sort by sector and key.

        Raises:
            DatasetError: a column is missing, of another dtype, or unknown.

        """
        head = ["sector"] if self.grain == "sector" else []
        expected = {**dict.fromkeys(head, pl.String), **dict(self.schema)}
        missing = [name for name in expected if name not in frame.columns]
        extra = [name for name in frame.columns if name not in expected and name != "month"]
        if missing or extra:
            raise DatasetError(
                f"dataset '{self.name}': missing columns {missing or 'none'}, unknown columns {extra or 'none'}; "
                "declare them in quant_assets/schemas.py or mend the asset"
            )
        wrong = {name: str(frame.schema[name]) for name, dtype in expected.items() if frame.schema[name] != dtype}
        if wrong:
            name, found = next(iter(wrong.items()))
            raise DatasetError(f"dataset '{self.name}': column '{name}' is {found}, the schema says {expected[name]}")
        return frame.select(list(expected)).sort([*head, *self.key])


def _ticker() -> Column:
    return Column(pl.String, "symbol; a dot before the share class")


def _date(meaning: str = "session of the row") -> Column:
    return Column(pl.Date, meaning)


def _as_of() -> Column:
    return Column(pl.Date, "last session of the month (in the running month the latest closed one); the decision uses nothing later")


def _price(meaning: str) -> Column:
    return Column(pl.Float64, meaning, "USD", gt=0)


def _ratio(meaning: str, *, nullable: bool = True, ge: float | None = None, le: float | None = None, gt: float | None = None) -> Column:
    return Column(pl.Float64, meaning, "1", nullable=nullable, ge=ge, le=le, gt=gt)


def _money(meaning: str) -> Column:
    return Column(pl.Float64, meaning, "USD", nullable=True)


_PANEL = {
    "in_sector": Column(
        pl.Boolean,
        "whether the ticker belonged to this sector on the date; false for rows kept for tickers that left the sector, and for the "
        "earlier bars of one that moved in. Filter on it for a panel without repeats across sectors",
    ),
    "panel_from": Column(
        pl.Date,
        "session from which the row is part of this sector's panel: its own date, or for the earlier bars of a ticker that moved in the "
        "session it moved",
    ),
}

_BAR = {
    "ticker": _ticker(),
    "date": _date(),
    "open": _price("first price of the session"),
    "high": _price("highest price of the session"),
    "low": _price("lowest price of the session"),
    "close": _price("last price of the session"),
    "volume": Column(pl.Float64, "shares traded", "shares", ge=0),
}

#: The OHLCV quantities and means whose running maximum is carried from month to month.
OHLCV_FIELDS = ("open", "high", "low", "close", "volume")
OHLCV_MEANS = (1, 5, 10, 20, 30)


def ohlcv_quantity(name: str, sessions: int) -> str:
    """Column name of a quantity: `close` for one session, `close_mean_5` for its 5-session mean."""
    return name if sessions == 1 else f"{name}_mean_{sessions}"


OHLCV_QUANTITIES = tuple(ohlcv_quantity(name, n) for n in OHLCV_MEANS for name in OHLCV_FIELDS)

_TECHNICAL = {
    "rsi_14": Column(pl.Float64, "relative strength index over 14 sessions (Wilder 1978)", "percent", nullable=True, ge=0, le=100),
    "macd": _ratio("MACD line (EMA 12 - EMA 26) over the close (Appel 1979)"),
    "macd_signal": _ratio("EMA 9 of the MACD line, over the close"),
    "macd_histogram": _ratio("MACD line less its signal, over the close"),
    "return_1": _ratio("return over 1 session", gt=-1),
    "return_5": _ratio("return over 5 sessions", gt=-1),
    "return_20": _ratio("return over 20 sessions", gt=-1),
    "return_60": _ratio("return over 60 sessions", gt=-1),
    "return_120": _ratio("return over 120 sessions", gt=-1),
    "return_252": _ratio("return over 252 sessions", gt=-1),
    "realised_volatility_20": _ratio("annualised standard deviation of daily log returns over 20 sessions", ge=0),
    "realised_volatility_60": _ratio("annualised standard deviation of daily log returns over 60 sessions", ge=0),
    "high_52w_distance": _ratio("close over the highest close of 252 sessions, less 1", le=0),
    "volume_zscore_20": _ratio("volume against mean and standard deviation of 20 sessions"),
    "beta_120": _ratio("slope of the daily return on the sector's equal-weight return over 120 sessions"),
}

_FUNDAMENTAL = {
    "earnings_yield": _ratio("net income of the last four quarters over market value"),
    "book_to_market": _ratio("total equity over market value"),
    "return_on_equity": _ratio("net income of the last four quarters over total equity"),
    "debt_to_equity": _ratio("total debt over total equity"),
    "gross_margin": _ratio("gross profit over revenue, last four quarters"),
    "operating_margin": _ratio("operating income over revenue, last four quarters"),
    "net_margin": _ratio("net income over revenue, last four quarters"),
    "revenue_growth": _ratio("revenue of the last four quarters against the four before, less 1"),
    "earnings_growth": _ratio("change of net income of the last four quarters against the four before, over its absolute value"),
    "statement_age_days": Column(pl.Float64, "calendar days since the newest known statement was published", "days", nullable=True, ge=0),
}

#: Model inputs, in the order in which models see them.
FEATURES: tuple[str, ...] = tuple(f"{name}_to_peak" for name in OHLCV_QUANTITIES) + tuple(_TECHNICAL) + tuple(_FUNDAMENTAL)

_HORIZON = Column(pl.Int32, "sessions from entry to exit", "sessions", ge=1)

_DATASETS = (
    Dataset(
        "universe",
        "Index members of each session with the sector known at the time",
        ("ticker", "date"),
        "date",
        "date",
        {
            "ticker": _ticker(),
            "date": _date(),
            "sector_assumed": Column(pl.Boolean, "true before the ticker's first sector snapshot, which is then assumed"),
        },
    ),
    Dataset(
        "ohlcv",
        "Daily bars as the provider gives them, with corporate actions and the factors carried from the first bar",
        ("ticker", "date"),
        "panel_from",
        "panel_from",
        {
            **_BAR,
            "dividend": Column(
                pl.Float64, "cash dividend with this ex-date; null where the provider has none", "USD per share", nullable=True, ge=0
            ),
            "split_ratio": Column(
                pl.Float64, "new shares for one old on this ex-date, 1 without a split; null where unknown", "1", nullable=True, gt=0
            ),
            "adjustment": Column(pl.String, "what the provider already adjusted for", isin=("as_traded", "total_return")),
            "provider": Column(pl.String, "which provider the bar comes from"),
            "price_factor": Column(pl.Float64, "times a price: the forward-anchored adjusted price", "1", gt=0),
            "volume_factor": Column(pl.Float64, "times the volume: the volume in shares of the first bar", "1", gt=0),
            "split_factor": Column(pl.Float64, "shares now for one share at the first bar, by the splits known", "1", gt=0),
            "traded_factor": Column(
                pl.Float64,
                "times a price: the price as traded. 1 for as-traded bars; for adjusted bars after them carried forward by the provider's "
                "splits and dividends; null before the first as-traded bar",
                "1",
                nullable=True,
                gt=0,
            ),
            **_PANEL,
        },
    ),
    Dataset(
        "quarantine",
        "Bars that were refused, each with the reason",
        ("ticker", "date", "provider", "row"),
        "date",
        "date",
        {
            "ticker": _ticker(),
            "date": _date(),
            "provider": Column(pl.String, "which provider the bar comes from"),
            "row": Column(pl.Int32, "number of the row among the provider's rows of this ticker and date, from 0", ge=0),
            "reason": Column(
                pl.String,
                "the rule that the bar breaks",
                isin=(
                    "not_a_session",
                    "missing_price",
                    "missing_volume",
                    "non_positive_price",
                    "negative_volume",
                    "ohlc_violation",
                    "stale_zero_volume",
                    "duplicate",
                    "unjoined",
                ),
            ),
            "open": Column(pl.Float64, "as given", "USD", nullable=True),
            "high": Column(pl.Float64, "as given", "USD", nullable=True),
            "low": Column(pl.Float64, "as given", "USD", nullable=True),
            "close": Column(pl.Float64, "as given", "USD", nullable=True),
            "volume": Column(pl.Float64, "as given", "shares", nullable=True),
        },
    ),
    Dataset(
        "delistings",
        "Tickers that stopped trading, from the session on which that was known",
        ("ticker", "last_session"),
        "known_at",
        "known_at",
        {
            "ticker": _ticker(),
            "last_session": _date("session of the last bar"),
            "known_at": _date("session at which the delisting was known"),
        },
    ),
    Dataset(
        "price_peaks",
        "Highest value so far of each OHLCV quantity, at the close of the month's last session",
        ("ticker", "as_of"),
        "as_of",
        "as_of",
        {"ticker": _ticker(), "as_of": _as_of()}
        | {
            name: Column(pl.Float64, f"highest {name.replace('_', ' ')} so far, forward-anchored", nullable="_mean_" in name, ge=0)
            for name in OHLCV_QUANTITIES
        },
    ),
    Dataset(
        "prices",
        "Split- and dividend-adjusted bars, anchored at the ticker's first bar and carried forward",
        ("ticker", "date"),
        "panel_from",
        "panel_from",
        {
            **_BAR,
            "close_unadjusted": Column(
                pl.Float64,
                "close as traded; null where only adjusted prices are known (before the first as-traded bar)",
                "USD",
                nullable=True,
                gt=0,
            ),
            "dollar_volume": Column(pl.Float64, "close times volume, both as the provider gives them", "USD", ge=0),
            "split_factor": Column(pl.Float64, "shares now for one share at the first bar, by the splits known", "1", gt=0),
            **_PANEL,
        },
    ),
    Dataset(
        "fundamentals",
        "Statements as they became known; a restatement is a new row",
        ("ticker", "period_end", "frequency", "known_at", "provider"),
        "panel_from",
        "panel_from",
        {
            "ticker": _ticker(),
            "period_end": _date("last day of the fiscal period"),
            "frequency": Column(pl.String, "length of the period the flows cover", isin=("quarterly", "annual")),
            "published": Column(
                pl.Date, "day of publication; null where the provider has none and the default lag was used", nullable=True
            ),
            "known_at": _date("first session at whose close the statement may be used"),
            "provider": Column(pl.String, "which provider the statement comes from"),
            "restated": Column(pl.Boolean, "true for a later version of a period already known"),
            "revenue": _money("revenue of the period"),
            "gross_profit": _money("gross profit of the period"),
            "operating_income": _money("operating income of the period"),
            "net_income": _money("net income of the period"),
            "total_assets": _money("total assets at period end"),
            "total_equity": _money("total equity at period end"),
            "total_debt": _money("short- and long-term debt at period end"),
            "shares": Column(
                pl.Float64,
                "diluted shares outstanding, counted as at publication (later splits not applied)",
                "shares",
                nullable=True,
                gt=0,
            ),
            "panel_from": _PANEL["panel_from"],
        },
    ),
    Dataset(
        "macro",
        "Macroeconomic observations as they became known",
        ("series_id", "period", "known_at"),
        "known_at",
        "known_at",
        {
            "series_id": Column(pl.String, "FRED series"),
            "period": _date("start of the period observed"),
            "known_at": _date(
                "first session at whose close the value may be used: the release, else period plus the series' documented lag"
            ),
            "value": Column(pl.Float64, "observation in the series' own unit"),
        },
        grain="month",
    ),
    Dataset(
        "indicators",
        "Moving average and slope, momentum and GARCH volatility with the sector's windows",
        ("ticker", "date"),
        "date",
        "date",
        {
            "ticker": _ticker(),
            "date": _date(),
            "close": _price("adjusted close"),
            "moving_average": Column(pl.Float64, "mean adjusted close over the sector's window", "USD", nullable=True, gt=0),
            "ma_slope": _ratio("moving average over itself 5 sessions before, less 1"),
            "momentum": _ratio("return over the sector's momentum lag", gt=-1),
            "garch_volatility": _ratio("annualised one-step-ahead GARCH(1,1) volatility", ge=0),
            "garch_fitted_on": Column(pl.Date, "last session of the window that the GARCH parameters were fitted on", nullable=True),
            "dollar_volume": Column(pl.Float64, "median dollar volume over 20 sessions", "USD", nullable=True, ge=0),
            "history_sessions": Column(pl.Int32, "sessions with a bar among the last 252", "sessions", ge=1),
        },
    ),
    Dataset(
        "candidates",
        "Long and short candidates by composite score at the month's last session",
        ("ticker", "as_of"),
        "as_of",
        "as_of",
        {
            "ticker": _ticker(),
            "as_of": _as_of(),
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
        {"ticker": _ticker(), "date": _date()}
        | {f"{name}_to_peak": _ratio(f"{name.replace('_', ' ')} over its running maximum so far", ge=0, le=1) for name in OHLCV_QUANTITIES}
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
            "ticker": _ticker(),
            "date": _date("session whose close gives the signal"),
            "horizon": _HORIZON,
            "forward_return": _ratio("adjusted return from entry to exit", nullable=False, ge=-1),
            "entry_date": _date("session at whose close the position is entered"),
            "exit_date": _date("session of the last price used"),
            "known_at": _date("session at which the last price needed had closed, or the delisting was known"),
            "delisted": Column(pl.Boolean, "true where a delisting within the horizon ended the label at the last price"),
        },
    ),
    Dataset(
        "lightgbm_checkpoint",
        "One row per horizon and training: the model's file, hash, data span and validation metrics",
        ("as_of", "horizon"),
        "as_of",
        "as_of",
        {
            "as_of": _as_of(),
            "horizon": _HORIZON,
            "status": Column(pl.String, "whether a model was trained", isin=("trained", "too_little_history")),
            "model_version": Column(pl.String, "first 12 characters of the model's SHA-256; null without a model", nullable=True),
            "model_file": Column(pl.String, "LightGBM text model, relative to the profile's storage", nullable=True),
            "model_sha256": Column(pl.String, "SHA-256 of the model file", nullable=True),
            "manifest_file": Column(pl.String, "JSON manifest: features, settings, data span, folds, importances", nullable=True),
            "manifest_sha256": Column(pl.String, "SHA-256 of the manifest", nullable=True),
            "rows": Column(pl.Int64, "training rows known at as_of", "rows", ge=0),
            "first_date": Column(pl.Date, "first session among the training rows", nullable=True),
            "last_known_at": Column(pl.Date, "latest known_at among the training rows", nullable=True),
            "rmse": _ratio("root mean squared error over the test folds", ge=0),
            "mae": _ratio("mean absolute error over the test folds", ge=0),
            "r2": _ratio("R squared over the test folds", le=1),
            "direction_accuracy": _ratio("share of test rows whose sign was right", ge=0, le=1),
            "ic": _ratio("mean over test dates of the cross-sectional Pearson correlation", ge=-1, le=1),
            "rank_ic": _ratio("mean over test dates of the cross-sectional Spearman correlation", ge=-1, le=1),
        },
    ),
    Dataset(
        "predictions",
        "Forecast forward returns of each member, session and horizon, by the newest checkpoint of an earlier month",
        ("ticker", "date", "horizon"),
        "date",
        "date",
        {
            "ticker": _ticker(),
            "date": _date(),
            "horizon": _HORIZON,
            "prediction": _ratio("forecast forward return", nullable=False),
            "prediction_std": _ratio("standard deviation of the out-of-fold residuals of similar predictions", nullable=False, gt=0),
            "prob_up": _ratio(
                "probability of a positive forward return under a normal forecast distribution", nullable=False, ge=0.01, le=0.99
            ),
            "confidence": _ratio("distance of prob_up from a coin flip: |2 prob_up - 1|", nullable=False, ge=0, le=1),
            "model": Column(pl.String, "kind of model"),
            "model_version": Column(pl.String, "first 12 characters of the model's SHA-256"),
        },
    ),
    Dataset(
        "regime_state",
        "Risk-on or risk-off of the sector at the month's last session",
        ("as_of",),
        "as_of",
        "as_of",
        {
            "as_of": _as_of(),
            "regime": Column(pl.String, "state", isin=("risk_on", "risk_off")),
            "volatility": _ratio("annualised volatility of the sector's equal-weight return", ge=0),
            "drawdown": _ratio("sector's equal-weight index against its highest close of the window, as a positive fraction", ge=0, le=1),
            "reason": Column(pl.String, "which thresholds were crossed, or that history is too short"),
        },
    ),
    Dataset(
        "weights",
        "Long-only weights decided at the month's last session, executed from the next session on",
        ("ticker", "as_of"),
        "as_of",
        "as_of",
        {
            "ticker": _ticker(),
            "as_of": _as_of(),
            "weight": _ratio("share of the sector's capital", nullable=False, gt=0, le=1),
            "rank": Column(pl.Int32, "1 is the best score", ge=1),
            "score": Column(pl.Float64, "what the names were ranked by"),
            "score_source": Column(pl.String, "what the score is", isin=("prediction", "composite_score")),
            "volatility": _ratio("annualised volatility that the weight is inverse to", gt=0),
        },
    ),
    Dataset(
        "backtest",
        "Daily result of holding the weights of the months before",
        ("date",),
        "date",
        "date",
        {
            "date": _date(),
            "gross_return": _ratio("return of the holdings before costs", nullable=False, ge=-1),
            "cost": _ratio("costs over equity", nullable=False, ge=0),
            "net_return": _ratio("return after costs", nullable=False, ge=-1),
            "turnover": _ratio("traded value over equity, buys plus sells", nullable=False, ge=0),
            "equity": _ratio("value of 1 invested at the close of the previous month", nullable=False, ge=0),
            "benchmark_return": _ratio("equal-weight return of the sector's members", nullable=True, gt=-1),
            "positions": Column(pl.Int32, "names held after the close", ge=0),
            "cash": _ratio("share of equity in cash after the close", nullable=False, le=1),
        },
    ),
    Dataset(
        "ops_report",
        "Figures of the sector's report; the page itself is the named HTML file",
        ("as_of", "metric", "window"),
        "as_of",
        "as_of",
        {
            "as_of": _as_of(),
            "metric": Column(pl.String, "name of the figure"),
            "window": Column(pl.String, "what the figure covers", isin=("month", "history")),
            "value": Column(pl.Float64, "the figure; null where it is not defined", nullable=True),
            "unit": Column(pl.String, "unit of the figure"),
            "report_file": Column(pl.String, "HTML page, relative to the profile's storage"),
        },
    ),
    Dataset(
        "portfolio_weights",
        "The total portfolio: every sector's weights times the sector's share",
        ("sector", "ticker", "as_of"),
        "as_of",
        "as_of",
        {
            "sector": Column(pl.String, "sector slug", isin=tuple(SECTORS)),
            "ticker": _ticker(),
            "as_of": _as_of(),
            "weight": _ratio("share of total capital", nullable=False, gt=0, le=1),
            "sector_share": _ratio("share of the sector", nullable=False, gt=0, le=1),
        },
        grain="month",
    ),
    Dataset(
        "portfolio_backtest",
        "Daily result of the total portfolio, rebalanced to the sector shares at each month's first execution",
        ("date",),
        "date",
        "date",
        {
            "date": _date(),
            "gross_return": _ratio("return before costs", nullable=False, ge=-1),
            "cost": _ratio("costs over equity", nullable=False, ge=0),
            "net_return": _ratio("return after costs", nullable=False, ge=-1),
            "turnover": _ratio("traded value over equity, buys plus sells", nullable=False, ge=0),
            "equity": _ratio("value of 1 invested at the close of the previous month", nullable=False, ge=0),
            "positions": Column(pl.Int32, "names held after the close", ge=0),
            "cash": _ratio("share of equity in cash after the close", nullable=False, le=1),
        },
        grain="month",
    ),
    Dataset(
        "sector_scorecard",
        "Breadth, momentum, volatility, candidates and regime of the sector at the decision (SQL)",
        ("as_of",),
        "as_of",
        "as_of",
        {
            "as_of": _as_of(),
            "members": Column(pl.Int32, "members with a bar", ge=1),
            "above_moving_average": _ratio("share of members above their moving average", ge=0, le=1),
            "median_momentum": _ratio("median momentum of the members", gt=-1),
            "median_volatility": _ratio("median GARCH volatility of the members", ge=0),
            "longs": Column(pl.Int32, "long candidates", ge=0),
            "shorts": Column(pl.Int32, "short candidates", ge=0),
            "best_long": Column(pl.String, "long candidate of rank 1", nullable=True),
            "regime": Column(pl.String, "regime of the sector", nullable=True, isin=("risk_on", "risk_off")),
        },
    ),
    Dataset(
        "data_quality",
        "What the provider delivered: bars, refused bars, member sessions with and without a bar (SQL)",
        ("as_of",),
        "as_of",
        "as_of",
        {
            "as_of": _as_of(),
            "tickers": Column(pl.Int32, "tickers of the sector with a bar", ge=0),
            "bars": Column(pl.Int32, "bars of tickers in the sector", ge=0),
            "refused_bars": Column(pl.Int32, "bars in quarantine", ge=0),
            "member_sessions": Column(pl.Int32, "sessions times members", ge=1),
            "member_bars": Column(pl.Int32, "of those, with a bar", ge=0),
        },
    ),
)

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in _DATASETS}


def markdown_table() -> str:
    """The README's table of datasets (`make docs` puts it there)."""
    lines = ["| dataset | grain | what it holds | key | known at |", "|---|---|---|---|---|"]
    for dataset in _DATASETS:
        grain = "sector × month" if dataset.grain == "sector" else "month"
        lines.append(f"| `{dataset.name}` | {grain} | {dataset.meaning} | {', '.join(dataset.key)} | `{dataset.known_at}` |")
    return "\n".join(lines)
