"""A market of companies of one sector that Yahoo, FMP, FRED and NewsAPI on loopback tell of, and its collection,
evening by evening: prices with splits and dividends, quarterly statements of which some are restated, vintages of a
macro series, news of each company.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from quant_assets.collectors.collection import Collection
from quant_assets.market.calendar import sessions
from quant_assets.profile import published
from quant_assets.settings.collecting import CollectingSettings
from quant_assets_tests.collectors.answers_fmp import balance, income
from quant_assets_tests.collectors.answers_fred import FredServer, Given
from quant_assets_tests.collectors.answers_texts import NewsServer, article
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Asked, Loopback, Reply
from quant_assets_tests.collectors.yahoo_server import Yahoo, evening, walk

SECTOR = "telecoms"
TICKERS = [f"T{number:02d}" for number in range(22)]
SERIES = "INDEX"
#: When a company leaves the index.
LEFT = date(2026, 2, 11)


class Reports:
    """FMP: four statements a year of each company, accepted some weeks after their quarter, restated here and there.

    A restatement comes forty days after the first version, under that one's day of acceptance, as FMP has it. Of the
    index the second company is a member until `LEFT`, all others always.
    """

    def __init__(self, clock: SimulatedClock, tickers: Sequence[str], first: date, last: date) -> None:
        self._tickers = tickers
        self._clock, self._given = clock, dict[str, list[tuple[datetime, dict[str, Any], dict[str, Any]]]]()
        for number, ticker in enumerate(tickers):
            rng, found = np.random.default_rng(1_000 + number), []
            for quarter in range(4 * (last.year - first.year + 1)):
                month = 3 * (quarter % 4) + 3
                end = date(first.year + quarter // 4, month, 30 if month in (6, 9) else 31)
                hour = time(18, 12) if number % 2 else time(6, 1)
                accepted = datetime.combine(end + timedelta(days=20 + number), hour)
                about = {"date": str(end), "period": f"Q{month // 3}", "acceptedDate": f"{accepted}"}
                about |= {"filingDate": str(accepted.date()), "fiscalYear": str(end.year)}
                revenue = float(rng.integers(100, 900))
                versions = [(accepted, revenue)]
                if (number + quarter) % 4 == 0:
                    versions.append((accepted + timedelta(days=40), revenue * 1.25))
                for at, value in versions:
                    made = income(ticker, **about, revenue=value, netIncome=value / 9, weightedAverageShsOut=1e6)
                    sheet = balance(ticker, **about, totalAssets=5 * revenue)
                    found.append((at.replace(tzinfo=ZoneInfo("America/New_York")), made, sheet))
            self._given[ticker] = found

    def __call__(self, asked: Asked) -> Reply:
        path, query = asked.path.removeprefix("/"), asked.query
        if path.endswith("-constituent"):
            return self._index(path.startswith("historical-"))
        newest: dict[str, dict[str, Any]] = {}
        if query.get("period") == "quarter":
            for at, made, sheet in self._given[query["symbol"]]:
                if at <= self._clock.now():
                    newest[made["date"]] = made if path == "income-statement" else sheet
        rows = sorted(newest.values(), key=lambda row: row["date"], reverse=True)
        return Reply(json.dumps(rows).encode(), headers={"Content-Type": "application/json"})

    def _index(self, changes: bool) -> Reply:
        gone = self._tickers[1] if self._clock.now().date() >= LEFT else None
        rest = {"sector": "Communication Services", "subSector": "Media", "dateFirstAdded": None}
        rows = [{"symbol": each, "name": each, **rest} for each in self._tickers if each != gone]
        if changes:
            rest = dict.fromkeys(("symbol", "addedSecurity", "reason"))
            rows = [{"date": str(LEFT), **rest, "removedTicker": gone, "removedSecurity": gone}] if gone else []
        return Reply(json.dumps(rows).encode(), headers={"Content-Type": "application/json"})


def vintages(first: date, last: date) -> list[Given]:
    """A monthly series: released on the fifteenth of the month after, revised a month later, now and then withdrawn."""
    found: list[Given] = []
    rng = np.random.default_rng(5)
    months = [date(year, month, 1) for year in range(first.year, last.year + 1) for month in range(1, 13)]
    for number, period in enumerate(months):
        released = (period + timedelta(days=32)).replace(day=15)
        value = round(100.0 + float(rng.normal()), 2)
        found += [(period, released, value), (period, released + timedelta(days=30), round(value + 0.5, 2))]
        if number % 5 == 0:
            found.append((period, released + timedelta(days=50), None))
    return [each for each in found if each[1] <= last]


#: Names of the companies in titles.
NAMES = {ticker: [f"Example {ticker}"] for ticker in TICKERS}
#: What is searched for.
_SEARCH = "Example"


def news(tickers: Sequence[str], days: Sequence[date]) -> list[Any]:
    """A title of each company on every third session, in the words of `sentiment.texts`."""
    said = ("profit jumps", "faces large lawsuit", "names new director", "sales surge", "shares tumble after downgrade")
    rng, found = np.random.default_rng(11), list[Any]()
    for place, ticker in enumerate(tickers):
        for day in days[place % 3 :: 3]:
            title = f"{NAMES[ticker][0]} {said[rng.integers(len(said))]} in week {day:%W}"
            at = datetime(day.year, day.month, day.day, int(rng.integers(24)), place, tzinfo=UTC)
            found.append(article(f"https://example.com/{ticker}/{day}", at, title))
    return found


@contextmanager
def collected(
    folder: Path, first: date, evenings: Sequence[date], clock: SimulatedClock, tickers: Sequence[str] = TICKERS
) -> Iterator[CollectingSettings]:
    """The settings of what is collected on some evenings of a market.

    Args:
        folder: of what is collected.
        first: day on which the market begins.
        evenings: sessions after which everything is collected; the market ends with the last one.
        clock: the collectors', before the first of them.
        tickers: of the companies.

    """
    days = sessions(first, evenings[-1]).tolist()
    stocks = {
        ticker: walk(
            seed,
            first,
            days[-1],
            40.0 + seed,
            splits={days[-40]: 2.0} if seed == 3 else {},
            dividends=dict.fromkeys(days[30 + seed :: 63], 0.4),
        )
        for seed, ticker in enumerate(tickers)
    }
    yahoo, fred = Yahoo(stocks, clock), FredServer(clock, {SERIES: vintages(first, days[-1])})
    others = {
        "fmp": Reports(clock, tickers, first, days[-1]),
        "fred": fred,
        "newsapi": NewsServer(clock, {_SEARCH: news(tickers, days)}, budget=10_000),
    }

    def answer(asked: Asked) -> Reply:
        of, _, path = asked.path.removeprefix("/").partition("/")
        if of not in others:
            return yahoo(asked)
        return others[of](Asked(asked.method, f"/{path}", asked.query, asked.headers, asked.body))

    with Loopback(answer).running() as server:
        settings = CollectingSettings.model_validate(
            {
                "folder": str(folder),
                "as_files": True,
                "universe": {SECTOR: tickers},
                "yahoo": {"url": server.url},
                "fmp": {"url": f"{server.url}/fmp", "kinds": ["income", "balance", "constituents"]},
                "fred": {"url": f"{server.url}/fred", "series": [SERIES]},
                "newsapi": {"url": f"{server.url}/newsapi", "searches": {"all": _SEARCH}},
            }
        )
        for day in evenings:
            clock.sleep(max(0.0, (evening(day) - clock.now()).total_seconds()))
            collection = Collection(settings, first, published(day), clock)
            for name in collection.named():
                summary = collection.collect(name)
                assert summary.ended is None, summary.ended
        yield settings
