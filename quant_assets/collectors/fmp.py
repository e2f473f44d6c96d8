"""Financial Modeling Prep (`/stable`): statements, prices as they traded, events, delistings, symbols, indices.

Data that a plan lacks is answered with 402 and a text that names it: an endpoint, a symbol, or a parameter value. An
exceeded daily budget is answered with 429, or with a 200 that says so; more requests are refused until midnight. FMP
does not document the time zone: messages say UTC, and one request finds out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import httpx
import polars as pl

from quant_assets.collectors.answers import Answer, Broken, Exhausted, Refused, Rows
from quant_assets.collectors.base import Question, Questions, Wanted
from quant_assets.collectors.collect import rows_of as answer_of
from quant_assets.collectors.fmp_tables import (
    BALANCE,
    BARS,
    CASH_FLOW,
    CONSTITUENT_CHANGES,
    CONSTITUENTS,
    DELISTED,
    DIVIDENDS,
    ENDPOINTS,
    INCOME,
    NEW_YORK,
    SPLITS,
    SYMBOL_CHANGES,
    rows_of,
)
from quant_assets.collectors.histories import never_asked_since
from quant_assets.collectors.http import Client, Clock, Pace, Received
from quant_assets.collectors.keys import key
from quant_assets.collectors.reading import SHAPE_ERRORS, broken, decoded
from quant_assets.collectors.tables import Table
from quant_assets.settings.collecting_figures import FmpSettings

#: Bars that are requested again: a vendor corrects the last days.
_AGAIN = timedelta(days=10)
#: How long the time of a ticker's last request is remembered.
_REMEMBERED = timedelta(days=60)
#: Delisted companies per page.
_PAGE = 100
#: Endpoints of tickers, by kind.
_OF_TICKERS = {
    "prices": ("prices",),
    "splits": ("splits",),
    "dividends": ("dividends",),
    "income": ("income-annual", "income-quarterly"),
    "balance": ("balance-annual", "balance-quarterly"),
    "cash_flow": ("cash-annual", "cash-quarterly"),
}


class Fmp:
    """Collector of Financial Modeling Prep.

    Args:
        settings: address, kinds, limits.
        tickers: tickers to collect.

    """

    name = "fmp"
    tables: Sequence[Table] = (
        BARS,
        SPLITS,
        DIVIDENDS,
        INCOME,
        BALANCE,
        CASH_FLOW,
        DELISTED,
        SYMBOL_CHANGES,
        CONSTITUENTS,
        CONSTITUENT_CHANGES,
    )

    def __init__(self, settings: FmpSettings, tickers: Sequence[str]) -> None:
        self._settings, self._tickers = settings, tickers

    def client(self, clock: Clock) -> Client:
        """At the plan's pace; a 429 is the daily budget, and is not retried.

        Raises:
            SettingsError: FMP_API_KEY is not set.

        """
        return Client(
            self._settings.url,
            clock=clock,
            paces=(Pace(self._settings.requests_a_minute, 60.0),),
            secrets={"apikey": key("FMP_API_KEY", "https://site.financialmodelingprep.com/developer/docs")},
            retried=frozenset({500, 502, 503, 504}),
        )

    def planned(self, wanted: Wanted) -> int:
        """Questions without an answer yet of tickers and lists, except those of the delisted companies."""
        endpoints = [endpoint for kind in self._settings.kinds for endpoint in _OF_TICKERS.get(kind, ())]
        pairs = [(endpoint, ticker) for ticker in self._tickers for endpoint in endpoints]
        pairs += [(question.endpoint, question.subject) for question in self._lists()]
        earlier = self._earlier(wanted, self._spans(wanted))
        return sum(not wanted.is_done(*pair) or (pair[0] == "prices" and pair[1] in earlier) for pair in pairs)

    def questions(self, wanted: Wanted) -> Questions:
        """Lists first, then the tickers, starting with those that were requested longest ago."""
        most, bars = self._settings.limit, self._spans(wanted)
        earlier = self._earlier(wanted, bars)
        newest = {ticker: last for ticker, (_, last) in bars.items() if ticker not in earlier}
        for question in self._lists():
            if not wanted.is_done(question.endpoint, question.subject):
                yield question
        if "delisted" in self._settings.kinds:
            yield from self._delisted(wanted)
        for ticker in self._in_order(wanted):
            for endpoint in (name for kind in self._settings.kinds for name in _OF_TICKERS.get(kind, ())):
                if wanted.is_done(endpoint, ticker) and not (endpoint == "prices" and ticker in earlier):
                    continue
                begin = max(wanted.since, newest.get(ticker, wanted.since) - _AGAIN)
                answer = yield self._question(endpoint, ticker, begin, wanted.now, most)
                allowed = _allowed(answer)
                if allowed is not None and allowed < most:
                    most = allowed
                    yield self._question(endpoint, ticker, begin, wanted.now, most)

    def read(self, endpoint: str, subject: str, received: Received) -> Answer:
        """Rows; `Nothing` for an empty list, the answer to an unknown symbol; a message in words is classified."""
        if received.status == 200 and not received.body.strip():
            return Broken("status 200 and an empty answer, which FMP sends now and then")
        message = _said(received)
        if message is not None:
            return _refusal(received, message)
        body = decoded(received)
        if isinstance(body, Broken):
            return body
        source = ENDPOINTS[endpoint]
        try:
            frame = rows_of(source, subject, body, received.fetched_at)
            _check_symbol(received, body)
        except SHAPE_ERRORS as error:
            return broken(error, received)
        return answer_of({source.table.name: frame}, f"FMP knows no {endpoint} of {subject}")

    def _lists(self) -> Iterator[Question]:
        if "symbol_changes" in self._settings.kinds:
            source = ENDPOINTS["symbol-changes"]
            yield Question("symbol-changes", "all companies", source.path, source.parameters)
        if "constituents" in self._settings.kinds:
            for index in self._settings.indices:
                for endpoint in ("constituents", "constituent-changes"):
                    yield Question(endpoint, index, ENDPOINTS[endpoint].path.format(index=index))

    def _delisted(self, wanted: Wanted) -> Questions:
        """Every page, because a company may be added late and under an earlier day."""
        before: pl.DataFrame | None = None
        for page in range(self._settings.delisted_pages):
            subject = f"page {page}"
            if wanted.is_done("delisted", subject):
                if wanted.answered["delisted", subject].outcome == "nothing":
                    return
                continue
            parameters = {"page": page, "limit": _PAGE}
            answer = yield Question("delisted", subject, ENDPOINTS["delisted"].path, parameters)
            if not isinstance(answer, Rows):
                return
            rows = answer.payload[DELISTED.name]
            if before is not None and rows.equals(before):  # a server that ignores the page number has no end
                return
            before = rows

    def _question(self, endpoint: str, ticker: str, begin: date, now: datetime, most: int) -> Question:
        source = ENDPOINTS[endpoint]
        parameters = {"symbol": self._settings.symbols.get(ticker, ticker), **source.parameters}
        if source.limited:
            parameters["limit"] = most
        if source.table is BARS:
            parameters |= {"from": str(begin), "to": str(now.astimezone(NEW_YORK).date())}
        return Question(endpoint, ticker, source.path, parameters)

    @staticmethod
    def _spans(wanted: Wanted) -> dict[str, tuple[date, date]]:
        """Days of each ticker's first and last bar."""
        bars = wanted.tables.newest(BARS.name).group_by("ticker")
        return {ticker: (first, last) for ticker, first, last in bars.agg(pl.min("date"), last=pl.max("date")).rows()}

    def _earlier(self, wanted: Wanted, bars: Mapping[str, tuple[date, date]]) -> set[str]:
        """Tickers whose bars were never requested from `since` on: their whole history is requested again."""
        if "prices" not in self._settings.kinds:
            return set()
        late = {ticker for ticker, (first, _) in bars.items() if first > wanted.since}
        return never_asked_since(self.name, late, wanted.entries(date.min) if late else (), wanted.since)

    def _in_order(self, wanted: Wanted) -> list[str]:
        """Never requested tickers first, then those requested longest ago: so a daily budget reaches all of them."""
        requested: dict[str, datetime] = {}
        for entry in wanted.entries(wanted.now.date() - _REMEMBERED):
            if entry.outcome in ("rows", "nothing", "refused"):
                requested[entry.subject] = max(entry.at, requested.get(entry.subject, entry.at))
        return sorted(self._tickers, key=lambda ticker: requested.get(ticker, datetime.min.replace(tzinfo=UTC)))


def _said(received: Received) -> str | None:
    """The message of an answer in words; None where it may hold rows."""
    if received.status == 200 and not re.match(rb'\s*\{\s*"Error Message"', received.body):
        return None
    body = decoded(received)
    return str(body["Error Message"]) if isinstance(body, dict) and "Error Message" in body else received.shown


def _refusal(received: Received, message: str) -> Answer:
    status, shown = received.status, message[:160]
    if status == 429 or "limit reach" in message.lower():
        midnight = datetime.combine(received.fetched_at.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
        return Exhausted(shown, midnight)
    if status == 401 or "invalid api key" in message.lower():
        return Refused(shown, "set FMP_API_KEY to the key of https://financialmodelingprep.com/dashboard", "provider")
    if status == 403 and "legacy" in message.lower():
        remedy = "set collecting.fmp.url to https://financialmodelingprep.com/stable"
        return Refused(shown, remedy, "provider")
    if status == 402:
        return _not_in_the_plan(message)
    return Broken(f"status {status}: {shown}")


def _not_in_the_plan(message: str) -> Refused:
    """A 402: the endpoint, the value of a parameter for every ticker, or this one question."""
    parameter = re.search(r"values? (?:set )?for '(\w+)'", message)
    named = parameter.group(1) if parameter else None
    if "restricted endpoint" in message.lower():
        remedy = "take its kind (or index) out of collecting.fmp.kinds, or take a larger plan"
        return Refused("the plan does not have this endpoint", remedy, "endpoint")
    if named == "symbol":
        return Refused("the plan does not have this symbol", "leave it to another provider, or take a larger plan")
    if named == "limit":
        allowed = re.search(r"between \d+ and (\d+)", message)
        most = allowed.group(1) if allowed else "5"
        return Refused(f"the plan allows a limit of at most {most}", f"set collecting.fmp.limit to {most}")
    if named is not None:
        scope = "endpoint" if named == "period" else "question"
        return Refused(f"the plan does not have this value of '{named}'", "take a larger plan", scope)
    return Refused(message[:160], "take a larger plan")


def _allowed(answer: Answer) -> int | None:
    """Number of rows that the plan allows, if an answer was refused because of it."""
    limit = re.search(r"a limit of at most (\d+)", answer.why) if isinstance(answer, Refused) else None
    return int(limit.group(1)) if limit else None


def _check_symbol(received: Received, rows: Any) -> None:
    """Refuse rows of another symbol than the requested one.

    Raises:
        ValueError: there are such rows.

    """
    symbol = httpx.URL(received.url).params.get("symbol")
    others = {str(row["symbol"]) for row in rows if "symbol" in row} - {symbol}
    if symbol is not None and others:
        raise ValueError(f"has data of {min(others)} instead of {symbol}")
