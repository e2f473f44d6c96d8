"""Financial Modeling Prep (`/stable`): statements, prices as they traded, events, delistings, symbols, indices.

What a plan has not is answered with 402 and a text that says what: an endpoint, a symbol, or the value of a parameter.
The daily budget is answered with 429, or with a 200 that says so; more requests are refused until midnight. FMP does
not document of which zone: UTC's is told, and one request finds out.
"""

import re
from collections.abc import Iterator, Sequence
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
from quant_assets.collectors.reading import WRONG, broken, decoded
from quant_assets.collectors.tables import Table
from quant_assets.settings.collecting_figures import FmpSettings

#: Bars that are asked for again: a vendor mends the last days.
_AGAIN = timedelta(days=10)
#: For so long it is remembered when a ticker was asked for.
_REMEMBERED = timedelta(days=60)
#: Companies on a page of those delisted.
_PAGE = 100
#: Endpoints of a kind that tickers have.
_OF_TICKERS = {
    "prices": ("prices",),
    "splits": ("splits",),
    "dividends": ("dividends",),
    "income": ("income-annual", "income-quarterly"),
    "balance": ("balance-annual", "balance-quarterly"),
    "cash_flow": ("cash-annual", "cash-quarterly"),
}


class Fmp:
    """The collector.

    Args:
        settings: address, kinds, limits.
        tickers: whose figures are wanted.

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
        """At the plan's pace; a 429 is the daily budget, which waiting a few seconds does not change.

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
        """What was not answered yet of each ticker and endpoint, and of the lists without that of the delisted."""
        endpoints = [each for kind in self._settings.kinds for each in _OF_TICKERS.get(kind, ())]
        asked = [(endpoint, ticker) for ticker in self._tickers for endpoint in endpoints]
        asked += [(each.endpoint, each.subject) for each in self._lists()]
        return sum(not wanted.is_done(*each) for each in asked)

    def questions(self, wanted: Wanted) -> Questions:
        """Lists first, then ticker by ticker, those first that were asked for longest ago."""
        most, newest = self._settings.limit, self._newest(wanted)
        for question in self._lists():
            if not wanted.is_done(question.endpoint, question.subject):
                yield question
        if "delisted" in self._settings.kinds:
            yield from self._delisted(wanted)
        for ticker in self._in_order(wanted):
            for endpoint in (each for kind in self._settings.kinds for each in _OF_TICKERS.get(kind, ())):
                if wanted.is_done(endpoint, ticker):
                    continue
                begin = max(wanted.since, newest.get(ticker, wanted.since) - _AGAIN)
                answer = yield self._question(endpoint, ticker, begin, wanted.now, most)
                allowed = _allowed(answer)
                if allowed is not None and allowed < most:
                    most = allowed
                    yield self._question(endpoint, ticker, begin, wanted.now, most)

    def read(self, endpoint: str, subject: str, received: Received) -> Answer:
        """Rows; nothing for an empty list, which is what an unknown symbol gets; a message in words is sorted out."""
        if received.status == 200 and not received.body.strip():
            return Broken("status 200 and an empty answer, which FMP sends now and then")
        said = _said(received)
        if said is not None:
            return _refusal(received, said)
        found = decoded(received)
        if isinstance(found, Broken):
            return found
        asked = ENDPOINTS[endpoint]
        try:
            frame = rows_of(asked, subject, found, received.fetched_at)
            _check_symbol(received, found)
        except WRONG as error:
            return broken(error, received)
        return answer_of({asked.table.name: frame}, f"FMP knows no {endpoint} of {subject}")

    def _lists(self) -> Iterator[Question]:
        if "symbol_changes" in self._settings.kinds:
            asked = ENDPOINTS["symbol-changes"]
            yield Question("symbol-changes", "all companies", asked.path, asked.parameters)
        if "constituents" in self._settings.kinds:
            for index in self._settings.indices:
                for endpoint in ("constituents", "constituent-changes"):
                    yield Question(endpoint, index, ENDPOINTS[endpoint].path.format(index=index))

    def _delisted(self, wanted: Wanted) -> Questions:
        """Every page, because a company may be entered late and under an earlier day."""
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
            given = answer.payload[DELISTED.name]
            if before is not None and given.equals(before):  # a server that does not heed the page has no end
                return
            before = given

    def _question(self, endpoint: str, ticker: str, begin: date, now: datetime, most: int) -> Question:
        asked = ENDPOINTS[endpoint]
        parameters = {"symbol": self._settings.symbols.get(ticker, ticker), **asked.parameters}
        if asked.limited:
            parameters["limit"] = most
        if asked.table is BARS:
            parameters |= {"from": str(begin), "to": str(now.astimezone(NEW_YORK).date())}
        return Question(endpoint, ticker, asked.path, parameters)

    def _newest(self, wanted: Wanted) -> dict[str, date]:
        """The day of each ticker's last bar, of those whose bars were once asked for from `since` on."""
        bars = (
            wanted.tables.newest(BARS.name).group_by("ticker").agg(pl.col("date").min().alias("first"), pl.max("date"))
        )
        late = bars.filter(pl.col("first") > wanted.since + _AGAIN)["ticker"]
        earlier = never_asked_since(self.name, late, wanted.entries(date.min) if len(late) else (), wanted.since)
        return {ticker: last for ticker, _, last in bars.iter_rows() if ticker not in earlier}

    def _in_order(self, wanted: Wanted) -> list[str]:
        """Those asked longest ago first, those never asked before them: a budget that ends every day reaches all so."""
        asked: dict[str, datetime] = {}
        for entry in wanted.entries(wanted.now.date() - _REMEMBERED):
            if entry.outcome in ("rows", "nothing", "refused"):
                asked[entry.subject] = max(entry.at, asked.get(entry.subject, entry.at))
        return sorted(self._tickers, key=lambda ticker: asked.get(ticker, datetime.min.replace(tzinfo=UTC)))


def _said(received: Received) -> str | None:
    """What an answer says in words; None where it may hold rows."""
    if received.status == 200 and not re.match(rb'\s*\{\s*"Error Message"', received.body):
        return None
    found = decoded(received)
    return str(found["Error Message"]) if isinstance(found, dict) and "Error Message" in found else received.shown


def _refusal(received: Received, said: str) -> Answer:
    status, shown = received.status, said[:160]
    if status == 429 or "limit reach" in said.lower():
        midnight = datetime.combine(received.fetched_at.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
        return Exhausted(shown, midnight)
    if status == 401 or "invalid api key" in said.lower():
        return Refused(shown, "set FMP_API_KEY to the key of https://financialmodelingprep.com/dashboard", "provider")
    if status == 403 and "legacy" in said.lower():
        remedy = "set collecting.fmp.url to https://financialmodelingprep.com/stable"
        return Refused(shown, remedy, "provider")
    if status == 402:
        return _not_in_the_plan(said)
    return Broken(f"status {status}: {shown}")


def _not_in_the_plan(said: str) -> Refused:
    """A 402: the endpoint, the value of a parameter for every ticker, or this one question."""
    parameter = re.search(r"values? (?:set )?for '(\w+)'", said)
    named = parameter.group(1) if parameter else None
    if "restricted endpoint" in said.lower():
        remedy = "take its kind (or index) out of collecting.fmp.kinds, or take a larger plan"
        return Refused("the plan does not have this endpoint", remedy, "endpoint")
    if named == "symbol":
        return Refused("the plan does not have this symbol", "leave it to another provider, or take a larger plan")
    if named == "limit":
        allowed = re.search(r"between \d+ and (\d+)", said)
        most = allowed.group(1) if allowed else "5"
        return Refused(f"the plan allows a limit of at most {most}", f"set collecting.fmp.limit to {most}")
    if named is not None:
        scope = "endpoint" if named == "period" else "question"
        return Refused(f"the plan does not have this value of '{named}'", "take a larger plan", scope)
    return Refused(said[:160], "take a larger plan")


def _allowed(answer: Answer) -> int | None:
    """How many rows the plan allows, where an answer was refused for that."""
    found = re.search(r"a limit of at most (\d+)", answer.why) if isinstance(answer, Refused) else None
    return int(found.group(1)) if found else None


def _check_symbol(received: Received, found: Any) -> None:
    """Refuse rows of another symbol than was asked for.

    Raises:
        ValueError: there is one.

    """
    asked = httpx.URL(received.url).params.get("symbol")
    others = {str(row["symbol"]) for row in found if "symbol" in row} - {asked}
    if asked is not None and others:
        raise ValueError(f"tells of {min(others)} instead of {asked}")
