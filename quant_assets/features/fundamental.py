"""The fundamental features: which statements are known at a session, and ratios of them and of market value.

What is known at session t: the rows of dataset `fundamentals` with `known_at` at or before t and not earlier than
`lookback_months` calendar months before t's month. The second bound makes the answer a function of t alone, however
much has been loaded. Then

- Rows of one frequency whose `period_end` less `_PERIOD_SLACK` days lies in the same month are versions of one period:
  providers and 52-week years name its last day differently. The version that became known last counts (of several at
  once, the provider first in the alphabet).
- The newest period wins, not the newest announcement: a late restatement of an old quarter changes no balance sheet.
- Flows cover four quarters where the four newest known ones follow each other, and otherwise, or where an annual period
  ends later, the newest annual statement. Growth compares with the four quarters, or the annual statement, a year before.
  A figure missing in one of them makes the feature missing.
- Balance-sheet figures and shares are those of the newest period of either frequency; a quarter wins against a year that ends with it.

Market value is the unadjusted close times the shares times the splits since the shares were stated. A statement gives shares on the basis
of the day it is published (earlier splits are restated, US GAAP ASC 260-10-55-12), so the splits since are `split_factor` at t over
`split_factor` at `known_at`. Two approximations remain. Where the provider's prices are already adjusted (`adjustment` is not `as_traded`),
`close_unadjusted` is not what was paid, and market value is off by the later splits and dividends. Where a provider gives shares as
restated later, they may already contain a later split.
"""

from datetime import date

import polars as pl

from quant_assets.settings import FundamentalSettings
from quant_assets.signals.windows import STALE_SESSIONS

#: Fiscal periods that end in the first days of a month belong to the month before.
_PERIOD_SLACK = 10

#: Calendar days before `known_at` in which the bar may lie whose split factor belongs to the statement.
_SPLIT_DAYS = STALE_SESSIONS + 2

_FLOWS = ("revenue", "gross_profit", "operating_income", "net_income")
_STOCKS = ("total_equity", "total_debt", "shares")
_QUARTERS = 8


def price_sessions(settings: FundamentalSettings) -> int:
    """Sessions before a month's first one whose split factors may be needed: back to the oldest statement and a few before it."""
    # No m consecutive months since 1990 hold more than 21 m + 6 XNYS sessions.
    return 21 * settings.lookback_months + 6 + _SPLIT_DAYS


def fundamental(
    rows: pl.DataFrame, prices: pl.DataFrame, fundamentals: pl.DataFrame, settings: FundamentalSettings, first_day: date, last_day: date
) -> pl.DataFrame:
    """Fundamental features of each row.

    Args:
        rows: `ticker`, `date` from `first_day` to `last_day`, each with a row in `prices`.
        prices: dataset prices, `price_sessions` before the month of `first_day`.
        fundamentals: dataset fundamentals, `lookback_months` before the month of `first_day`.
        settings: the lookback.
        first_day: first day of the range.
        last_day: last day of the range.

    Returns:
        `ticker`, `date` and the fundamental features, one row for each of `rows`. Null where nothing is known, where a
        figure is missing, and for a ratio whose denominator is not positive (`book_to_market` may be negative).

    """
    known = _known(rows, _statements(prices, fundamentals), settings, first_day, last_day)
    bars = rows.select("ticker", "date").join(prices.select("ticker", "date", "close_unadjusted", "split_factor"), on=["ticker", "date"])
    joined = bars.sort("date", "ticker").join_asof(
        known.sort("state", "ticker"), left_on="date", right_on="state", by="ticker", strategy="backward", check_sortedness=False
    )
    market_value = pl.col("close_unadjusted") * pl.col("shares") * (pl.col("split_factor") / pl.col("stated_factor"))
    return joined.select(
        "ticker",
        "date",
        earnings_yield=_over(pl.col("net_income"), market_value),
        book_to_market=_over(pl.col("total_equity"), market_value),
        return_on_equity=_over(pl.col("net_income"), pl.col("total_equity")),
        debt_to_equity=_over(pl.col("total_debt"), pl.col("total_equity")),
        gross_margin=_over(pl.col("gross_profit"), pl.col("revenue")),
        operating_margin=_over(pl.col("operating_income"), pl.col("revenue")),
        net_margin=_over(pl.col("net_income"), pl.col("revenue")),
        revenue_growth=_over(pl.col("revenue"), pl.col("revenue_before")) - 1.0,
        earnings_growth=_over(pl.col("net_income") - pl.col("net_income_before"), pl.col("net_income_before").abs()),
        statement_age_days=(pl.col("date") - pl.col("published")).dt.total_days().cast(pl.Float64),
    )


def _over(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    return pl.when(denominator > 0.0).then(numerator / denominator)


def _statements(prices: pl.DataFrame, fundamentals: pl.DataFrame) -> pl.DataFrame:
    """Statements with `usable` (known and in the panel), `period` (months since year 0) and `stated_factor` (split factor when known)."""
    factors = prices.select("ticker", "split_factor", known_at="date").sort("known_at", "ticker")
    statements = fundamentals.sort("known_at", "ticker")
    # Bars exist from a few days before, or, for a listing or the start of the profile, only from later on.
    for strategy, name, tolerance in (("backward", "_before", f"{_SPLIT_DAYS}d"), ("forward", "_after", None)):
        statements = statements.join_asof(
            factors.rename({"split_factor": name}),
            on="known_at",
            by="ticker",
            strategy=strategy,  # type: ignore[arg-type]
            tolerance=tolerance,
            check_sortedness=False,
        )
    closing = pl.col("period_end").dt.offset_by(f"-{_PERIOD_SLACK}d")
    return statements.select(
        "ticker",
        "frequency",
        "known_at",
        "period_end",
        "provider",
        *_FLOWS,
        *_STOCKS,
        usable=pl.max_horizontal("known_at", "panel_from"),
        period=12 * closing.dt.year() + closing.dt.month().cast(pl.Int32),
        published=pl.coalesce("published", "known_at"),
        stated_factor=pl.coalesce("_before", "_after"),
    )


def _known(rows: pl.DataFrame, statements: pl.DataFrame, settings: FundamentalSettings, first_day: date, last_day: date) -> pl.DataFrame:
    """What is known of each ticker, at every day on which that changes.

    Returns:
        `ticker`, `state` (the first day on which the row holds, until the next one), flows of a year and of the year before, balance sheet.

    """
    tickers = rows.select("ticker").unique()
    start = first_day.replace(day=1)
    # Knowledge changes when a statement becomes usable, and at the start of a month, when old ones fall out.
    month_starts = pl.DataFrame({"state": pl.date_range(start, last_day, "1mo", eager=True)})
    announced = statements.select("ticker", state="usable").filter(pl.col("state").is_between(start, last_day))
    states = pl.concat([tickers.join(month_starts, how="cross"), announced.join(tickers, on="ticker", how="semi")]).unique()
    oldest = pl.col("state").dt.month_start().dt.offset_by(f"-{settings.lookback_months}mo")
    numbered = statements.with_row_index()
    versions = (
        states.join(numbered.select("index", "ticker", "usable", "known_at"), on="ticker")  # large, so without the figures
        .filter(pl.col("usable") <= pl.col("state"), pl.col("known_at") >= oldest)
        .select("state", "index")
        .join(numbered, on="index")
        .sort("ticker", "state", "frequency", "period", "known_at", "provider", "period_end", descending=[False] * 5 + [True, False])
    )
    newest_first = (
        versions.unique(["ticker", "state", "frequency", "period"], keep="last", maintain_order=True)
        .sort("ticker", "state", "frequency", "period", descending=[False, False, False, True])
        .group_by("ticker", "state", "frequency", maintain_order=True)
        .agg(pl.col("period", "published", "stated_factor", *_FLOWS, *_STOCKS).head(_QUARTERS))
    )
    quarterly, annual = (newest_first.filter(pl.col("frequency") == frequency).drop("frequency") for frequency in ("quarterly", "annual"))
    both = states.join(quarterly, on=["ticker", "state"], how="left").join(annual, on=["ticker", "state"], how="left", suffix="_annual")
    return both.select("ticker", "state", *_balance_sheet(), *_flows())


def _at(name: str, place: int) -> pl.Expr:
    return pl.col(name).list.get(place, null_on_oob=True)


def _balance_sheet() -> list[pl.Expr]:
    quarter_is_newest = _at("period", 0).fill_null(0) >= _at("period_annual", 0).fill_null(0)
    names = ("published", "stated_factor", *_STOCKS)
    return [pl.when(quarter_is_newest).then(_at(name, 0)).otherwise(_at(f"{name}_annual", 0)).alias(name) for name in names]


def _consecutive(count: int) -> pl.Expr:
    """Whether the newest `count` known quarters follow each other: years of 52 weeks have quarters of 12 to 17 weeks."""
    gaps = (_at("period", place) - _at("period", place + 1) for place in range(count - 1))
    return pl.all_horizontal(gap.is_between(2, 4) for gap in gaps).fill_null(False)


def _flows() -> list[pl.Expr]:
    newest = _at("period", 0) >= _at("period_annual", 0).fill_null(0)
    quarters = (_consecutive(4) & newest).fill_null(False)
    year_before = (_at("period_annual", 0) - _at("period_annual", 1)).is_between(11, 13)

    def four(name: str, first: int) -> pl.Expr:
        return _at(name, first) + _at(name, first + 1) + _at(name, first + 2) + _at(name, first + 3)

    now = [pl.when(quarters).then(four(name, 0)).otherwise(_at(f"{name}_annual", 0)).alias(name) for name in _FLOWS]
    before = [
        pl.when(quarters & _consecutive(_QUARTERS))
        .then(four(name, 4))
        .when(~quarters & year_before)
        .then(_at(f"{name}_annual", 1))
        .alias(f"{name}_before")
        for name in ("revenue", "net_income")
    ]
    return now + before
