"""Tables of Financial Modeling Prep, and the reader of its answers' rows.

Column names are those of the files provider, so that its settings can map a copy of the tables (`settings.providers`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from quant_assets.collectors import reading
from quant_assets.collectors.reading import Fields
from quant_assets.collectors.tables import Table
from quant_assets.market.calendar import closes_early

NEW_YORK = ZoneInfo("America/New_York")
#: Filings accepted from this time on are known at the next session.
_CLOSE, _EARLY_CLOSE = time(16), time(13)
#: Time from which a session's bar is complete: half an hour after the close.
_COMPLETE = time(16, 30)


def _table(name: str, key: tuple[str, ...], **columns: Any) -> Table:
    return Table(name, pl.Schema(columns), key)


#: Bars as they traded, in the listing's currency; volume in shares.
BARS = _table(
    "bars",
    ("ticker", "date"),
    ticker=pl.String,
    date=pl.Date,
    open=pl.Float64,
    high=pl.Float64,
    low=pl.Float64,
    close=pl.Float64,
    volume=pl.Float64,
)
#: `numerator` new shares for `denominator` old ones from `date` on. The list is incomplete: spin-offs are missing.
SPLITS = _table(
    "splits", ("ticker", "date"), ticker=pl.String, date=pl.Date, numerator=pl.Float64, denominator=pl.Float64
)
#: Cash per share as paid, on the ex-date; not adjusted for later splits.
DIVIDENDS = _table(
    "dividends",
    ("ticker", "date"),
    ticker=pl.String,
    date=pl.Date,
    declared=pl.Date,
    recorded=pl.Date,
    paid=pl.Date,
    dividend=pl.Float64,
    frequency=pl.String,
)

_STATEMENT: dict[str, Any] = {
    "ticker": pl.String,
    "period_end": pl.Date,
    "form": pl.String,
    "published": pl.Date,
    "filed": pl.Date,
    "accepted_at": pl.Datetime("us", "UTC"),
    "fiscal_year": pl.String,
    "currency": pl.String,
}
_STATEMENT_KEY = ("ticker", "period_end", "form")


def _statements(name: str, *figures: str) -> Table:
    return _table(name, _STATEMENT_KEY, **_STATEMENT, **dict.fromkeys(figures, pl.Float64))


#: Statements, figures in `currency`. `form` is FY or Q1 to Q4. `published` is the first day at whose close one was
#: known: the day of acceptance, or the next one after an evening acceptance. FMP has the newest version only, under the
#: day of the first filing: a restatement is known from the `fetched_at` of its version on.
INCOME = _statements(
    "income_statements",
    "revenue",
    "gross_profit",
    "operating_income",
    "net_income",
    "eps",
    "eps_diluted",
    "shares",
    "shares_diluted",
)
BALANCE = _statements("balance_sheets", "total_assets", "total_equity", "total_debt")
CASH_FLOW = _statements("cash_flows", "operating_cash_flow", "capital_expenditure", "free_cash_flow")
#: Delisted companies of the USA.
DELISTED = _table(
    "delisted",
    ("ticker", "company"),
    ticker=pl.String,
    company=pl.String,
    exchange=pl.String,
    listed=pl.Date,
    delisted=pl.Date,
)
#: The company `old` trades as `new` from `since` on.
SYMBOL_CHANGES = _table(
    "symbol_changes", ("old", "new", "since"), old=pl.String, new=pl.String, since=pl.Date, company=pl.String
)
#: Members of an index `on` the day of the answer, in New York: all of them for each requested day.
CONSTITUENTS = _table(
    "constituents",
    ("index", "on", "ticker"),
    index=pl.String,
    on=pl.Date,
    ticker=pl.String,
    company=pl.String,
    sector=pl.String,
    industry=pl.String,
    since=pl.Date,
)
#: Additions to and removals from an index on a day; empty where there is none.
CONSTITUENT_CHANGES = _table(
    "constituent_changes",
    ("index", "date", "added", "removed"),
    index=pl.String,
    date=pl.Date,
    added=pl.String,
    removed=pl.String,
    added_company=pl.String,
    removed_company=pl.String,
    reason=pl.String,
)


@dataclass(frozen=True)
class Endpoint:
    """A kind of request, and how its rows are read.

    Attributes:
        table: table that it fills.
        path: path below the base address.
        fields: possible field names of the table's columns.
        parameters: parameters besides the symbol.
        limited: whether the number of rows is a parameter.

    """

    table: Table
    path: str
    fields: Fields
    parameters: Mapping[str, Any] = field(default_factory=dict)
    limited: bool = False


def _statement(table: Table, path: str, **figures: tuple[str, ...]) -> dict[str, Endpoint]:
    fields = {"period_end": ("date",), "form": ("period",), "filed": ("filingDate", "fillingDate")}
    fields |= {"fiscal_year": ("fiscalYear", "calendarYear"), "currency": ("reportedCurrency",), **figures}
    kind = path.lstrip("/").partition("-")[0]
    return {
        f"{kind}-{name}": Endpoint(table, path, fields, {"period": period}, limited=True)
        for name, period in (("annual", "annual"), ("quarterly", "quarter"))
    }


_INDEX_FIELDS = {
    "ticker": ("symbol",),
    "company": ("name",),
    "sector": ("sector",),
    "industry": ("subSector",),
    "since": ("dateFirstAdded",),
}
_CHANGE_FIELDS = {
    "date": ("date",),
    "added": ("symbol",),
    "removed": ("removedTicker",),
    "added_company": ("addedSecurity",),
    "removed_company": ("removedSecurity",),
    "reason": ("reason",),
}

#: By this project's names. The fields of bars are called adjusted and are not: AAPL's `adjClose` of 2020-08-28, before
#: a split of 4:1, is 499.24. Those of `historical-price-eod/full` are `open` to `close` and are adjusted for splits:
#: fields with these names are not read as traded bars.
ENDPOINTS: Mapping[str, Endpoint] = {
    "prices": Endpoint(
        BARS,
        "/historical-price-eod/non-split-adjusted",
        {
            "date": ("date",),
            "open": ("adjOpen",),
            "high": ("adjHigh",),
            "low": ("adjLow",),
            "close": ("adjClose",),
            "volume": ("volume",),
        },
    ),
    "splits": Endpoint(
        SPLITS,
        "/splits",
        {"date": ("date",), "numerator": ("numerator",), "denominator": ("denominator",)},
        limited=True,
    ),
    "dividends": Endpoint(
        DIVIDENDS,
        "/dividends",
        {
            "date": ("date",),
            "declared": ("declarationDate",),
            "recorded": ("recordDate",),
            "paid": ("paymentDate",),
            "dividend": ("dividend",),
            "frequency": ("frequency",),
        },
        limited=True,
    ),
    **_statement(
        INCOME,
        "/income-statement",
        revenue=("revenue",),
        gross_profit=("grossProfit",),
        operating_income=("operatingIncome",),
        net_income=("netIncome",),
        eps=("eps",),
        eps_diluted=("epsDiluted", "epsdiluted"),
        shares=("weightedAverageShsOut",),
        shares_diluted=("weightedAverageShsOutDil",),
    ),
    **_statement(
        BALANCE,
        "/balance-sheet-statement",
        total_assets=("totalAssets",),
        total_equity=("totalStockholdersEquity",),
        total_debt=("totalDebt",),
    ),
    **_statement(
        CASH_FLOW,
        "/cash-flow-statement",
        operating_cash_flow=("operatingCashFlow",),
        capital_expenditure=("capitalExpenditure",),
        free_cash_flow=("freeCashFlow",),
    ),
    "delisted": Endpoint(
        DELISTED,
        "/delisted-companies",
        {
            "ticker": ("symbol",),
            "company": ("companyName",),
            "exchange": ("exchange",),
            "listed": ("ipoDate",),
            "delisted": ("delistedDate",),
        },
    ),
    "symbol-changes": Endpoint(
        SYMBOL_CHANGES,
        "/symbol-change",
        {"old": ("oldSymbol",), "new": ("newSymbol",), "since": ("date",), "company": ("companyName",)},
        {"invalid": "false", "limit": 10_000},
    ),
    "constituents": Endpoint(CONSTITUENTS, "/{index}-constituent", _INDEX_FIELDS),
    "constituent-changes": Endpoint(CONSTITUENT_CHANGES, "/historical-{index}-constituent", _CHANGE_FIELDS),
}


def rows_of(endpoint: Endpoint, subject: str, rows: Sequence[Mapping[str, Any]], fetched_at: datetime) -> pl.DataFrame:
    """Rows of an answer as they are stored.

    Args:
        endpoint: endpoint of the answer.
        subject: ticker or index.
        rows: rows of the answer.
        fetched_at: when it was fetched; the bar of a session that was not over then is left out, and so is a bar
            without a close, which is an absence.

    Raises:
        KeyError, TypeError, ValueError: an answer of another shape.

    """
    table = endpoint.table
    local = fetched_at.astimezone(NEW_YORK)
    same: dict[str, Any] = {name: subject for name in table.key[:1] if name not in endpoint.fields}
    if table is CONSTITUENTS:
        same["on"] = local.date()
    blank = ("added", "removed") if table is CONSTITUENT_CHANGES else ()
    frame = reading.rows(rows, table, endpoint.fields, blank=blank, **same)
    if table is BARS:
        over = local.date() if local.time() >= _COMPLETE else local.date() - timedelta(days=1)
        frame = frame.filter(pl.col("close").is_not_null(), pl.col("date") <= over)
    elif "accepted_at" in table.schema:
        # `reading.rows` keeps rows with an empty form, but not those without a form.
        accepted = [
            _accepted(row)
            for row in rows
            if reading.day(reading.field(row, "date")) and reading.text(reading.field(row, "period")) is not None
        ]
        frame = frame.with_columns(
            pl.Series("accepted_at", accepted, table.schema["accepted_at"]),
            pl.Series("published", map(_published, accepted, frame["filed"]), pl.Date),
        ).sort("accepted_at", maintain_order=True)
    # Of several versions in one answer the one accepted last counts.
    return frame.select(list(table.schema)).unique(table.key, keep="last", maintain_order=True)


def _accepted(row: Mapping[str, Any]) -> datetime | None:
    """When the SEC accepted a filing; the field is New York local time."""
    accepted = reading.field(row, "acceptedDate")
    return datetime.fromisoformat(str(accepted)).replace(tzinfo=NEW_YORK) if accepted else None


def _published(accepted: datetime | None, filed: date | None) -> date | None:
    """First day at whose close a statement was known.

    If only the day is known, the hour counts as after the close.
    """
    if accepted is None:
        return None if filed is None else filed + timedelta(days=1)
    on, at = accepted.date(), accepted.time()
    late = at >= _CLOSE or (at >= _EARLY_CLOSE and closes_early(on))
    return on + timedelta(days=1) if late else on
