"""What had been collected of companies beside their prices, as files: statements, delistings, members of indices."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import polars as pl

from quant_assets.collectors.fmp_tables import BALANCE, CASH_FLOW, CONSTITUENT_CHANGES, CONSTITUENTS, DELISTED, INCOME
from quant_assets.collectors.tables import FETCHED_AT, Table, Tables
from quant_assets.collectors.view_known import EXCHANGE, KNOWN_ON, as_known

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

    Who is on a list without a change that says since when came with it; who is not on the next one left with that.

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


def _spans(lists: pl.DataFrame, changes: pl.DataFrame) -> dict[str, list[tuple[date, date | None]]]:
    """Spans of each ticker in one index, by its lists and changes; `date.min` for the beginning."""
    days = lists["on"].unique().sort().to_list()
    there: dict[str, list[date]] = {}
    since: dict[str, date | None] = {}
    for ticker, day, added in lists.sort("on").select("ticker", "on", "since").iter_rows():
        there.setdefault(ticker, []).append(day)
        since.setdefault(ticker, added)
    came: dict[str, set[date]] = {}
    left: dict[str, set[date]] = {}
    for column, kept in (("added", came), ("removed", left)):
        for ticker, day in changes.select(column, "date").drop_nulls().iter_rows():
            if ticker:
                kept.setdefault(ticker, set()).add(day)
    for ticker, seen in there.items():
        begins, ends = came.setdefault(ticker, set()), left.setdefault(ticker, set())
        for before, day in itertools.pairwise(days):
            if before not in seen and day in seen and not any(before <= each <= day for each in begins):
                begins.add(day)
            if before in seen and day not in seen and not any(before <= each <= day for each in ends):
                ends.add(day)
        first, told = seen[0], since[ticker]
        left_before = max((each for each in ends if each <= first), default=date.min)
        if first == days[0] and not any(left_before <= each <= first for each in begins):
            if told is not None and told >= left_before:
                begins.add(told)
            elif left_before > date.min:
                begins.add(first)
    found: dict[str, list[tuple[date, date | None]]] = {}
    for ticker in came.keys() | left.keys():
        begins, ends = came.get(ticker, set()), left.get(ticker, set())
        # On one day a company leaves under a symbol before another comes under it.
        events = sorted([(day, 1) for day in begins] + [(day, 0) for day in ends])
        spans: list[tuple[date, date | None]] = []
        begin: date | None = None if events and events[0][1] else date.min
        for day, is_begin in events:
            if is_begin:
                begin = begin or day
            elif begin is not None:
                spans.append((begin, day))
                begin = None
        if begin is not None and ticker in there:
            spans.append((begin, None))
        found[ticker] = spans
    return found


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
