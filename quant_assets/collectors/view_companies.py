"""What had been collected of companies beside their prices, as files: statements, delistings, members of indices."""

import itertools
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from typing import Any, NamedTuple

import polars as pl

from quant_assets.collectors.fmp_tables import BALANCE, CASH_FLOW, CONSTITUENT_CHANGES, CONSTITUENTS, DELISTED, INCOME
from quant_assets.collectors.tables import FETCHED_AT, Table, Tables
from quant_assets.collectors.view_known import EXCHANGE, INTERRUPTED, KNOWN_ON, as_known

_STATEMENT: dict[str, Any] = {
    "ticker": pl.String,
    "period_end": pl.Date,
    "form": pl.String,
    "published": pl.Date,
    "currency": pl.String,
}
#: Each kind of statements: which table it is of, and its figures.
STATEMENTS: Mapping[str, tuple[Table, tuple[str, ...]]] = {
    "income": (INCOME, ("revenue", "gross_profit", "operating_income", "net_income", "shares")),
    "balance": (BALANCE, ("total_assets", "total_equity", "total_debt")),
    "cash_flow": (CASH_FLOW, ("operating_cash_flow", "capital_expenditure", "free_cash_flow")),
}
#: Of the file of delistings: `known_at` null where it counts as announced after the last session.
DELISTINGS = pl.Schema({"ticker": pl.String, "last_session": pl.Date, "known_at": pl.Date})
#: Of the file of members: from `start_date` (null: always) until the day before `end_date`.
MEMBERSHIP = pl.Schema({"ticker": pl.String, "start_date": pl.Date, "end_date": pl.Date})


def statements(tables: Tables, kind: str, tickers: Sequence[str], by: datetime) -> pl.DataFrame:
    """Statements of a kind as each became known, a row for each version; `published` is that day.

    A version that replaces another was known when it was fetched, whatever day of filing FMP gives with it.

    Args:
        tables: of FMP.
        kind: one of `STATEMENTS`.
        tickers: whose.
        by: what was fetched then or later is left out.

    """
    table, figures = STATEMENTS[kind]
    schema = pl.Schema({**_STATEMENT, **dict.fromkeys(figures, pl.Float64)})
    versions = tables.versions(table.name).filter(pl.col("ticker").is_in(list(tickers)))
    known = as_known(versions, table.key, [pl.col("ticker")], pl.col("published"), by)
    # Of several versions of one day the last one counts.
    newest = known.unique([*table.key, KNOWN_ON], keep="last", maintain_order=True)
    return newest.with_columns(published=KNOWN_ON).select(list(schema)).sort(*table.key, "published")


def delistings(tables: Tables, bars: pl.DataFrame, tickers: Sequence[str], by: datetime) -> pl.DataFrame:
    """Delistings of the tickers (`DELISTINGS`), without those that their own later bars contradict.

    FMP lists symbols that other companies have since taken, and companies that only changed their exchange. A day of
    delisting after which there were bars when the list was fetched is of such a one.

    Args:
        tables: of FMP.
        bars: `ticker` and `date` of the prices in the view.
        tickers: whose.
        by: what was fetched then or later is left out.

    """
    versions = tables.versions(DELISTED.name).filter(
        pl.col("ticker").is_in(list(tickers)), pl.col("delisted").is_not_null()
    )
    known = as_known(versions, DELISTED.key, [], pl.col("delisted"), by)
    newest = known.unique(DELISTED.key, keep="last", maintain_order=True)
    fetched_on = pl.col(FETCHED_AT).dt.convert_time_zone(EXCHANGE).dt.date()
    dated = newest.with_columns(fetched_on=fetched_on).select("ticker", "delisted", "fetched_on", KNOWN_ON)
    goes_on = dated.join(bars.select("ticker", "date"), on="ticker").filter(
        (pl.col("date") > pl.col("delisted")) & (pl.col("date") <= pl.col("fetched_on"))
    )
    stands = dated.join(goes_on, on=["ticker", "delisted"], how="anti")
    told = pl.when(pl.col(KNOWN_ON) > pl.col("delisted")).then(KNOWN_ON)
    found = stands.select("ticker", last_session="delisted", known_at=told).cast(DELISTINGS)
    return found.sort(list(DELISTINGS)).unique(["ticker", "last_session"], keep="first", maintain_order=True)


def membership(
    tables: Tables, indices: Sequence[str], symbols: Mapping[str, str], tickers: Sequence[str], by: datetime
) -> pl.DataFrame:
    """When the tickers were in one of the indices (`MEMBERSHIP`), by the lists of members and of their changes.

    Who is on a list without a change that says since when came with it; who is not on the next one left with that. A
    change that was collected after its day counts from when it was collected, as everything else does.

    Args:
        tables: of FMP.
        indices: which.
        symbols: tickers that FMP writes otherwise.
        tickers: whose.
        by: what was fetched then or later is left out.

    """
    ours = {theirs: mine for mine, theirs in symbols.items()}
    changes = as_known(
        tables.versions(CONSTITUENT_CHANGES.name), CONSTITUENT_CHANGES.key, [pl.col("index")], pl.col("date"), by
    )
    lists = tables.versions(CONSTITUENTS.name)
    begun = lists.group_by("index").agg(begun=pl.col("on").min())
    # The past that a first collection tells came with the first list, or it is no part of that.
    fetched_on = pl.col(FETCHED_AT).dt.convert_time_zone(EXCHANGE).dt.date()
    late = fetched_on > pl.col("begun") + INTERRUPTED
    counts = pl.when(late).then(pl.max_horizontal(KNOWN_ON, fetched_on)).otherwise(KNOWN_ON)
    changes = (
        changes.join(begun, on="index").filter((pl.col(FETCHED_AT) < by) | ~late).with_columns(counts.alias(KNOWN_ON))
    )
    lists = lists.join(begun, on="index").filter((pl.col(FETCHED_AT) < by) | (pl.col("on") == pl.col("begun")))
    spans: dict[str, list[tuple[date, date | None]]] = {}
    for index in indices:
        of_index, told = lists.filter(index=index), changes.filter(index=index)
        if of_index.is_empty():
            continue
        for ticker, found in _spans(of_index, told).items():
            spans.setdefault(ours.get(ticker, ticker), []).extend(found)
    rows = [
        (ticker, None if first == date.min else first, last)
        for ticker in sorted(set(tickers) & set(spans))
        for first, last in _together(spans[ticker])
    ]
    return pl.DataFrame(rows, MEMBERSHIP, orient="row")


class _Event(NamedTuple):
    """A ticker that comes into an index or leaves it.

    Attributes:
        day: of the change. Of two on one day a company leaves under a symbol before another comes under it.
        comes: whether it comes.
        known: from which day on the change counts, no earlier than it.

    """

    day: date
    comes: bool
    known: date


def _spans(lists: pl.DataFrame, changes: pl.DataFrame) -> dict[str, list[tuple[date, date | None]]]:
    """Spans of each ticker in one index, by its lists and changes; `date.min` for the beginning.

    A change counts from the day on which it was known, an addition also not before a list names the ticker: it may be
    written otherwise there. What the first collection tells of the past counts in that past.
    """
    days = lists["on"].unique().sort().to_list()
    there: dict[str, set[date]] = {}
    since: dict[str, date | None] = {}
    for ticker, day, added in lists.sort("on").select("ticker", "on", "since").iter_rows():
        there.setdefault(ticker, set()).add(day)
        since.setdefault(ticker, added)
    told: dict[str, list[_Event]] = {ticker: [] for ticker in there}
    for column, comes in (("added", True), ("removed", False)):
        for ticker, day, known in changes.select(column, "date", KNOWN_ON).drop_nulls().iter_rows():
            if ticker and comes and known >= days[0]:
                if ticker in there:
                    told[ticker].append(_Event(day, comes, max(known, min(there[ticker]))))
            elif ticker:
                told.setdefault(ticker, []).append(_Event(day, comes, known))
    return {ticker: _of_ticker(told[ticker], days, there.get(ticker, set()), since.get(ticker)) for ticker in told}


def _of_ticker(
    told: Sequence[_Event], days: Sequence[date], seen: AbstractSet[date], since: date | None
) -> list[tuple[date, date | None]]:
    """Spans of a ticker in an index.

    Args:
        told: its changes.
        days: of the lists.
        seen: those of them whose list has it.
        since: the day of its addition, as the first list with it says.

    """
    past = sorted(each for each in told if each.known < days[0])
    later = [each for each in told if each.known >= days[0]]
    if days[0] not in seen:
        while past and past[-1].comes:  # it left under another name, nobody tells when
            past.pop()
    elif not past or not past[-1].comes:
        left = past[-1].day if past else date.min
        if since is not None and left <= since <= days[0]:
            past.append(_Event(since, comes=True, known=since))
    member = not past[0].comes if past else days[0] in seen
    # Nothing that is told later of days before the first list is newer than that.
    events = [*past, _Event(days[0], days[0] in seen, days[0]), *later]
    for before, day in itertools.pairwise(days):
        on_it = day in seen
        if on_it != (before in seen) and on_it != _is_member(events, day):
            events.append(_Event(day, on_it, day))
    spans: list[tuple[date, date | None]] = []
    begin = date.min if member else None
    for day in sorted({each.known for each in events}):
        member = _is_member(events, day)
        if member and begin is None:
            begin = day
        elif begin is not None and not member:
            spans.append((begin, day))
            begin = None
    return spans if begin is None else [*spans, (begin, None)]


def _is_member(events: Sequence[_Event], on: date) -> bool:
    """What the latest change says of those that count by a day."""
    found = max((each for each in events if each.known <= on), default=None)
    return found is not None and found.comes


def _together(spans: list[tuple[date, date | None]]) -> list[tuple[date, date | None]]:
    """The spans in order, those that overlap or touch as one."""
    joined: list[tuple[date, date | None]] = []
    for first, last in sorted(spans, key=lambda each: each[0]):
        before = joined[-1] if joined else None
        if before is not None and (before[1] is None or first <= before[1]):
            end = None if before[1] is None or last is None else max(before[1], last)
            joined[-1] = before[0], end
        else:
            joined.append((first, last))
    return joined
