"""Collected data of companies besides their prices, as files: statements, delistings, members of indices."""

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
#: Kinds of statements: the table and its figures.
STATEMENTS: Mapping[str, tuple[Table, tuple[str, ...]]] = {
    "income": (INCOME, ("revenue", "gross_profit", "operating_income", "net_income", "shares")),
    "balance": (BALANCE, ("total_assets", "total_equity", "total_debt")),
    "cash_flow": (CASH_FLOW, ("operating_cash_flow", "capital_expenditure", "free_cash_flow")),
}
#: Columns of the file of delistings: `known_at` null where it counts as announced after the last session.
DELISTINGS = pl.Schema({"ticker": pl.String, "last_session": pl.Date, "known_at": pl.Date})
#: Columns of the file of members: from `start_date` (null: always) until the day before `end_date`.
MEMBERSHIP = pl.Schema({"ticker": pl.String, "start_date": pl.Date, "end_date": pl.Date})


def statements(tables: Tables, kind: str, tickers: Sequence[str], by: datetime) -> pl.DataFrame:
    """Statements of a kind, a row for each version; `published` is the day on which the version became known.

    A version that replaces another was known when it was fetched, whatever day of filing FMP gives.

    Args:
        tables: of FMP.
        kind: one of `STATEMENTS`.
        tickers: tickers of the statements.
        by: data fetched then or later is left out.

    """
    table, figures = STATEMENTS[kind]
    schema = pl.Schema({**_STATEMENT, **dict.fromkeys(figures, pl.Float64)})
    versions = tables.versions(table.name).filter(pl.col("ticker").is_in(list(tickers)))
    known = as_known(versions, table.key, [pl.col("ticker")], pl.col("published"), by)
    # Of several versions of one day the last counts.
    newest = known.unique([*table.key, KNOWN_ON], keep="last", maintain_order=True)
    return newest.with_columns(published=KNOWN_ON).select(list(schema)).sort(*table.key, "published")


def delistings(tables: Tables, bars: pl.DataFrame, tickers: Sequence[str], by: datetime) -> pl.DataFrame:
    """Delistings of the tickers (`DELISTINGS`), without those that the tickers' later bars contradict.

    FMP also lists symbols that other companies have since taken, and companies that only changed their exchange: there
    are bars after the delisting when the list was fetched.

    Args:
        tables: of FMP.
        bars: `ticker` and `date` of the prices in the view.
        tickers: tickers of the delistings.
        by: data fetched then or later is left out.

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
    known_at = pl.when(pl.col(KNOWN_ON) > pl.col("delisted")).then(KNOWN_ON)
    rows = stands.select("ticker", last_session="delisted", known_at=known_at).cast(DELISTINGS)
    return rows.sort(list(DELISTINGS)).unique(["ticker", "last_session"], keep="first", maintain_order=True)


def membership(
    tables: Tables, indices: Sequence[str], symbols: Mapping[str, str], tickers: Sequence[str], by: datetime
) -> pl.DataFrame:
    """Spans of the tickers in one of the indices (`MEMBERSHIP`), by the lists of members and of their changes.

    A ticker on a list without an addition joined with that list; a ticker missing from the next list left with it. A
    change that was collected after its day counts from its collection, like all other facts.

    Args:
        tables: of FMP.
        indices: the indices.
        symbols: FMP's spelling of tickers that differs.
        tickers: tickers of the spans.
        by: data fetched then or later is left out.

    """
    ours = {theirs: mine for mine, theirs in symbols.items()}
    changes = as_known(
        tables.versions(CONSTITUENT_CHANGES.name), CONSTITUENT_CHANGES.key, [pl.col("index")], pl.col("date"), by
    )
    lists = tables.versions(CONSTITUENTS.name)
    begun = lists.group_by("index").agg(begun=pl.col("on").min())
    # The past of a first collection came with the first list, or is not part of it.
    fetched_on = pl.col(FETCHED_AT).dt.convert_time_zone(EXCHANGE).dt.date()
    late = fetched_on > pl.col("begun") + INTERRUPTED
    counts = pl.when(late).then(pl.max_horizontal(KNOWN_ON, fetched_on)).otherwise(KNOWN_ON)
    changes = (
        changes.join(begun, on="index").filter((pl.col(FETCHED_AT) < by) | ~late).with_columns(counts.alias(KNOWN_ON))
    )
    lists = lists.join(begun, on="index").filter((pl.col(FETCHED_AT) < by) | (pl.col("on") == pl.col("begun")))
    spans: dict[str, list[tuple[date, date | None]]] = {}
    for index in indices:
        of_index, moves = lists.filter(index=index), changes.filter(index=index)
        if of_index.is_empty():
            continue
        for ticker, listed in _spans(of_index, moves).items():
            spans.setdefault(ours.get(ticker, ticker), []).extend(listed)
    rows = [
        (ticker, None if first == date.min else first, last)
        for ticker in sorted(set(tickers) & set(spans))
        for first, last in _together(spans[ticker])
    ]
    return pl.DataFrame(rows, MEMBERSHIP, orient="row")


class _Event(NamedTuple):
    """A ticker's addition to or removal from an index.

    Attributes:
        day: of the change. On the same day a company leaves under a symbol before another joins under it.
        comes: whether it is an addition.
        known: day from which on the change counts, not before `day`.

    """

    day: date
    comes: bool
    known: date


def _spans(lists: pl.DataFrame, changes: pl.DataFrame) -> dict[str, list[tuple[date, date | None]]]:
    """Spans of each ticker in one index, by its lists and changes; `date.min` for the beginning.

    A change counts from the day on which it was known, an addition also not before a list names the ticker: the list
    may spell it differently. The past in the first collection counts in that past.
    """
    days = lists["on"].unique().sort().to_list()
    days_of: dict[str, set[date]] = {}
    since: dict[str, date | None] = {}
    for ticker, day, added in lists.sort("on").select("ticker", "on", "since").iter_rows():
        days_of.setdefault(ticker, set()).add(day)
        since.setdefault(ticker, added)
    moves: dict[str, list[_Event]] = {ticker: [] for ticker in days_of}
    for column, comes in (("added", True), ("removed", False)):
        for ticker, day, known in changes.select(column, "date", KNOWN_ON).drop_nulls().iter_rows():
            if ticker and comes and known >= days[0]:
                if ticker in days_of:
                    moves[ticker].append(_Event(day, comes, max(known, min(days_of[ticker]))))
            elif ticker:
                moves.setdefault(ticker, []).append(_Event(day, comes, known))
    return {ticker: _of_ticker(moves[ticker], days, days_of.get(ticker, set()), since.get(ticker)) for ticker in moves}


def _of_ticker(
    moves: Sequence[_Event], days: Sequence[date], seen: AbstractSet[date], since: date | None
) -> list[tuple[date, date | None]]:
    """Spans of a ticker in an index.

    Args:
        moves: its changes.
        days: days of the lists.
        seen: days of the lists that have it.
        since: the day of its addition, by the first list with it.

    """
    past = sorted(event for event in moves if event.known < days[0])
    later = [event for event in moves if event.known >= days[0]]
    if days[0] not in seen:
        while past and past[-1].comes:  # it left under another name on an unknown day
            past.pop()
    elif not past or not past[-1].comes:
        removed = past[-1].day if past else date.min
        if since is not None and removed <= since <= days[0]:
            past.append(_Event(since, comes=True, known=since))
    member = not past[0].comes if past else days[0] in seen
    # Later news about days before the first list is older than that list.
    events = [*past, _Event(days[0], days[0] in seen, days[0]), *later]
    for before, day in itertools.pairwise(days):
        on_it = day in seen
        if on_it != (before in seen) and on_it != _is_member(events, day):
            events.append(_Event(day, on_it, day))
    spans: list[tuple[date, date | None]] = []
    begin = date.min if member else None
    for day in sorted({event.known for event in events}):
        member = _is_member(events, day)
        if member and begin is None:
            begin = day
        elif begin is not None and not member:
            spans.append((begin, day))
            begin = None
    return spans if begin is None else [*spans, (begin, None)]


def _is_member(events: Sequence[_Event], on: date) -> bool:
    """Whether the latest change among those known by a day is an addition."""
    latest = max((event for event in events if event.known <= on), default=None)
    return latest is not None and latest.comes


def _together(spans: list[tuple[date, date | None]]) -> list[tuple[date, date | None]]:
    """The spans in order, with overlapping or touching ones merged."""
    joined: list[tuple[date, date | None]] = []
    for first, last in sorted(spans, key=lambda span: span[0]):
        before = joined[-1] if joined else None
        if before is not None and (before[1] is None or first <= before[1]):
            end = None if before[1] is None or last is None else max(before[1], last)
            joined[-1] = before[0], end
        else:
            joined.append((first, last))
    return joined
