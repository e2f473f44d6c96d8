"""The fundamental features: ratios of the statements known at a session, and of market value.

Known at session t are the rows of dataset `fundamentals` with `known_at` at or before t and not earlier than
`lookback_months` calendar months before t's month. The second bound makes the result depend on t alone, however much
has been loaded. Providers have different figures (SEC extracts have no shares and no debt), so every figure is chosen
separately:

- Rows of one frequency whose `period_end` less `_PERIOD_SLACK` days is in the same month are versions of one period,
  because providers and 52-week years use different last days. Of the versions with the figure, the last one to become
  known counts (of several at once, the provider first in the alphabet).
- The newest period with the figure counts, not the newest announcement: a late restatement of an old quarter changes no
  balance sheet. A quarter has priority over a year that ends with it. A period that ends more than `_OLDEST_PERIOD`
  months before the newest known one is not used.
- Flows cover a year: four consecutive quarters that all have the figure, or an annual statement. The two figures of a
  margin belong to one year, and growth compares a year with the one 11 to 13 months before it, built in the same way.

Market value is `close_unadjusted` times the shares times the splits since the shares were stated. A statement gives
shares as of the day of its publication (earlier splits are restated, US GAAP ASC 260-10-55-12), so the splits since
then are `split_factor` at t over `split_factor` at `known_at` of the statement with the shares. Before the ticker's
first as-traded bar, `close_unadjusted` and market value are null. An unflagged split counts if the rules repaired it
(`market.events`). If the price has made an unexplained step since the shares were stated that looks like a split, up or
down by a whole factor within `_DAYS_MOVE`, the number of shares is unknown, and market value is null until a later
statement gives it. Remaining approximations: shares are diluted averages of a year or quarter, up to `_OLDEST_PERIOD`
months old; splits, and closes carried on after the last as-traded bar, are as good as the provider's events (some list
spin-offs as splits); shares that a provider restated may already contain a later split.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from quant_assets.market.containment import marks
from quant_assets.market.panel import STALE_SESSIONS
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.windows.declarations import Declared

#: Fiscal periods that end in the first days of a month belong to the month before.
_PERIOD_SLACK = 10

#: Largest age in months of a period with a figure, relative to the newest known one: a year and a quarter's delay.
_OLDEST_PERIOD = 15

#: Largest age in calendar days, at `known_at`, of the bar whose split factor belongs to the statement.
_SPLIT_DAYS = STALE_SESSIONS + 2

_FLOWS = (
    "revenue",
    "gross_profit",
    "operating_income",
    "net_income",
    "depreciation",
    "operating_cash_flow",
    "capital_expenditure",
)
_STOCKS = ("total_assets", "total_equity", "total_debt", "cash", "shares")
#: Suffix of a figure of the year before.
_BEFORE = "_before"

#: Largest move of a share's price on the day of a split, apart from the split.
_DAYS_MOVE = 0.1


@dataclass(frozen=True, eq=False)
class StatementFeature(Declared[pl.Expr]):
    """A ratio of figures known at a session; `compute` is the expression over them.

    The figures are the newest known ones or, with `of_a_year`, those of one year, the newest that has the ratio. The
    history needed follows from `price_sessions` and the lookback of the settings, so `lookback` is 0.

    Attributes:
        of_a_year: whether the figures must belong to the same year (`…_before` to the year before it). Without it,
            features `of_a_year` may be inputs.

    """

    of_a_year: bool = False


def over(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """A ratio: null if a figure is missing, NaN (which no older period replaces) if the denominator is not positive."""
    return numerator / pl.when(denominator > 0.0).then(denominator).when(denominator.is_not_null()).then(float("nan"))


_REVENUE, _NET_INCOME, _EQUITY = pl.col("revenue"), pl.col("net_income"), pl.col("total_equity")
MARKET_VALUE = pl.col("close_unadjusted") * pl.col("split_factor") * pl.col("shares")
VALUED = ("shares", "close_unadjusted", "split_factor")

FEATURES: tuple[StatementFeature, ...] = (
    StatementFeature(
        "earnings_yield",
        ("net_income", *VALUED),
        0,
        over(_NET_INCOME, MARKET_VALUE),
        "net income of the newest known year (four quarters or an annual statement) over market value",
        source="Basu (1977), Journal of Finance 32",
    ),
    StatementFeature(
        "book_to_market",
        ("total_equity", *VALUED),
        0,
        over(_EQUITY, MARKET_VALUE),
        "newest known total equity over market value",
        source="Fama and French (1992), Journal of Finance 47",
    ),
    StatementFeature(
        "return_on_equity",
        ("net_income", "total_equity"),
        0,
        over(_NET_INCOME, _EQUITY),
        "net income of the newest known year over total equity",
    ),
    StatementFeature(
        "debt_to_equity",
        ("total_debt", "total_equity"),
        0,
        over(pl.col("total_debt"), _EQUITY),
        "newest known total debt over newest known total equity",
    ),
    StatementFeature(
        "gross_margin",
        ("gross_profit", "revenue"),
        0,
        over(pl.col("gross_profit"), _REVENUE),
        "gross profit over revenue of the newest year with both",
        of_a_year=True,
    ),
    StatementFeature(
        "operating_margin",
        ("operating_income", "revenue"),
        0,
        over(pl.col("operating_income"), _REVENUE),
        "operating income over revenue of the newest year with both",
        of_a_year=True,
    ),
    StatementFeature(
        "net_margin",
        ("net_income", "revenue"),
        0,
        over(_NET_INCOME, _REVENUE),
        "net income over revenue of the newest year with both",
        of_a_year=True,
    ),
    StatementFeature(
        "revenue_growth",
        ("revenue", "revenue_before"),
        0,
        over(_REVENUE, pl.col("revenue_before")) - 1.0,
        "revenue of the newest year whose year before is known, over that of the year before, less 1",
        of_a_year=True,
    ),
    StatementFeature(
        "earnings_growth",
        ("net_income", "net_income_before"),
        0,
        over(_NET_INCOME - pl.col("net_income_before"), pl.col("net_income_before").abs()),
        (
            "net income of the newest year whose year before is known, "
            "less that of the year before, over its absolute value"
        ),
        of_a_year=True,
    ),
    StatementFeature(
        "statement_age_days",
        ("published",),
        0,
        (pl.col("date") - pl.col("published")).dt.total_days().cast(pl.Float64),
        "calendar days since the newest known statement was published",
        "days",
        ge=0,
    ),
)


class _Figures:
    """The figures that some features need."""

    def __init__(self, features: Sequence[StatementFeature]) -> None:
        inputs = {name for feature in features for name in feature.inputs}
        self.before = sorted(name for name in inputs if name.endswith(_BEFORE))
        inputs |= {name.removesuffix(_BEFORE) for name in self.before}
        self.flows = [name for name in _FLOWS if name in inputs]
        now = {name for feature in features if not feature.of_a_year for name in feature.inputs}
        self.flows_now = [name for name in self.flows if name in now]
        # `shares_steps`: number of steps like a split up to the day on which the shares were stated.
        self.stocks = [name for name in _STOCKS if name in inputs] + ["shares_steps"]
        self.of_a_year = {feature.name: feature.compute for feature in features if feature.of_a_year}
        self.of_now = {feature.name: feature.compute for feature in features if not feature.of_a_year}


def price_sessions(settings: FundamentalSettings) -> int:
    """Sessions before a month's first one whose split factors may be needed: to the oldest statement and a few more."""
    # No m consecutive months since 1990 have more than 21 m + 6 XNYS sessions.
    return 21 * settings.lookback_months + 6 + _SPLIT_DAYS


def fundamental(
    rows: pl.DataFrame,
    prices: pl.DataFrame,
    fundamentals: pl.DataFrame,
    settings: FundamentalSettings,
    first_day: date,
    last_day: date,
    features: Sequence[StatementFeature] = FEATURES,
) -> pl.DataFrame:
    """Fundamental features of rows.

    Args:
        rows: `ticker`, `date` from `first_day` to `last_day`, all of them in `prices`.
        prices: dataset prices, `price_sessions` before the month of `first_day`.
        fundamentals: dataset fundamentals, `lookback_months` before the month of `first_day`.
        settings: the lookback.
        first_day: first day of the range.
        last_day: last day of the range.
        features: the features to compute.

    Returns:
        `ticker`, `date` and the features, one row per row of `rows`. Null if nothing is known, a figure is missing, or
        the denominator is not positive (`book_to_market` may be negative).

    """
    figures = _Figures(features)
    prices = marks(prices).select(
        "ticker", "date", "close_unadjusted", "split_factor", "unexplained", steps=pl.lit(0, pl.Int32)
    )
    if prices["unexplained"].any():
        prices = prices.sort("ticker", "date").with_columns(steps=_like_a_split().cum_sum().over("ticker"))
    known = _known(rows, _statements(prices, fundamentals), figures, settings, first_day, last_day)
    bars = rows.select("ticker", "date").join(prices.drop("unexplained"), on=["ticker", "date"])
    joined = bars.sort("date", "ticker").join_asof(
        known.sort("state", "ticker"),
        left_on="date",
        right_on="state",
        by="ticker",
        strategy="backward",
        check_sortedness=False,
    )
    if "shares" in figures.stocks:
        joined = joined.with_columns(shares=pl.when(pl.col("steps") == pl.col("shares_steps")).then("shares"))
    result = joined.select("ticker", "date", *figures.of_a_year, **figures.of_now)
    return result.with_columns(pl.selectors.float().fill_nan(None))


def _like_a_split() -> pl.Expr:
    """Whether a bar is unexplained and its price a whole multiple or fraction of the last, or one of them is unknown.

    Int32, for bars sorted by ticker and date.
    """
    price = pl.col("close_unadjusted") * pl.col("split_factor")
    step = price / price.shift().over("ticker")
    larger = pl.max_horizontal(step, 1.0 / step)
    fits = (larger / larger.round()).log().abs() <= math.log1p(_DAYS_MOVE)
    return (pl.col("unexplained") & fits.fill_null(True)).cast(pl.Int32)


def _statements(prices: pl.DataFrame, fundamentals: pl.DataFrame) -> pl.DataFrame:
    """Statements in the order of their versions, with `period` (months since year 0) and shares at split factor 1."""
    factors = prices.select("ticker", "split_factor", "steps", known_at="date").sort("known_at", "ticker")
    statements = fundamentals.sort("known_at", "ticker")
    # The last bar of the days before or, for a new listing or at the start of the profile, the first bar after.
    for strategy, name, tolerance in (("backward", "_before", f"{_SPLIT_DAYS}d"), ("forward", "_after", None)):
        statements = statements.join_asof(
            factors.rename({"split_factor": name, "steps": f"_steps{name}"}),
            on="known_at",
            by="ticker",
            strategy=strategy,  # type: ignore[arg-type]
            tolerance=tolerance,
            check_sortedness=False,
        )
    shares = pl.col("shares") / pl.coalesce("_before", "_after")
    closing = pl.col("period_end").dt.offset_by(f"-{_PERIOD_SLACK}d")
    return statements.with_columns(
        period=12 * closing.dt.year() + closing.dt.month().cast(pl.Int32),
        published=pl.coalesce("published", "known_at"),
        shares=shares,
        shares_steps=pl.when(shares.is_not_null()).then(pl.coalesce("_steps_before", "_steps_after")),
    ).sort(
        "ticker", "period", "frequency", "known_at", "provider", "period_end", descending=[False] * 4 + [True, False]
    )


def _known(
    rows: pl.DataFrame,
    statements: pl.DataFrame,
    figures: _Figures,
    settings: FundamentalSettings,
    first_day: date,
    last_day: date,
) -> pl.DataFrame:
    """The figures known of each ticker, for every day on which they change.

    Returns:
        `ticker`, `state` (first day of the row's validity, until the next row), `published` of the newest period, the
        balance sheet, the flows of a year and the ratios of a year.

    """
    tickers = rows.select("ticker").unique()
    start = first_day.replace(day=1)
    # The figures change when a statement enters the panel, and at the start of a month, when old ones expire.
    month_starts = pl.DataFrame({"state": pl.date_range(start, last_day, "1mo", eager=True)})
    announced = statements.select("ticker", state="panel_from").filter(pl.col("state").is_between(start, last_day))
    states = pl.concat([tickers.join(month_starts, how="cross"), announced.join(tickers, on="ticker", how="semi")])
    states = states.unique().sort("ticker", "state").with_row_index("id")
    oldest = pl.col("state").dt.month_start().dt.offset_by(f"-{settings.lookback_months}mo")
    days = statements.select("ticker", "panel_from", "known_at", row=pl.int_range(pl.len()))
    known = states.join(days, on="ticker", maintain_order="left_right").filter(  # large, so without the figures
        pl.col("panel_from") <= pl.col("state"), pl.col("known_at") >= oldest
    )
    periods = (
        statements[known["row"]]
        .with_columns(known["id"])
        .group_by("id", "period", "frequency", maintain_order=True)
        .agg(pl.col("published", *figures.stocks, *figures.flows).last(ignore_nulls=True))
    )
    recent = pl.col("period") >= pl.col("period").max().over("id") - _OLDEST_PERIOD
    newest = pl.col("published", *figures.stocks, *figures.flows_now, *figures.of_a_year).last(ignore_nulls=True)
    return states.join(
        _years(periods, figures).filter(recent).group_by("id", maintain_order=True).agg(newest), on="id", how="left"
    )


def _years(periods: pl.DataFrame, figures: _Figures) -> pl.DataFrame:
    """Periods with the flows of the year that ends with them, and the ratios of a year.

    Args:
        periods: one row per `id`, `period` and `frequency`, sorted by these.
        figures: the figures needed.

    Returns:
        The same rows, in the same order; a quarter that does not follow three others has no flows.

    """
    quarters = periods.filter(pl.col("frequency") == "quarterly")
    gap = pl.col("period").diff()
    # Years of 52 weeks have quarters of 12 to 17 weeks.
    follow = pl.all_horizontal(
        pl.col("id") == pl.col("id").shift(3), *(gap.shift(k).is_between(2, 4) for k in range(3))
    )
    of_a_year = (
        pl.when(follow).then(sum((pl.col(name).shift(k) for k in range(1, 4)), pl.col(name))) for name in figures.flows
    )
    annual = periods.filter(pl.col("frequency") == "annual")
    years = pl.concat([annual, quarters.with_columns(of_a_year)]).sort("id", "period", "frequency")
    before = years.select(
        "id", "frequency", year_before="period", **{name: name.removesuffix(_BEFORE) for name in figures.before}
    )
    return (
        years.with_columns(sought=pl.col("period") - 12)
        .join_asof(
            before,
            left_on="sought",
            right_on="year_before",
            by=["id", "frequency"],
            strategy="nearest",
            tolerance=1,
            check_sortedness=False,
        )
        .with_columns(**figures.of_a_year)
    )
