"""Yahoo on loopback: charts of a market that is known, as Yahoo would tell them at the time of a clock.

Prices are adjusted for every split up to the clock and rounded to 32 bits, volumes to whole numbers, as Yahoo's are.
Under its address it answers for each of Yahoo's hosts, as `URL/HOST/…`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from quant_assets.market.calendar import first_session_from, sessions
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Asked, Reply

NEW_YORK = ZoneInfo("America/New_York")
CHART = "/query2.finance.yahoo.com/v8/finance/chart/"
Fault = Callable[[dict[str, Any]], dict[str, Any] | Reply]


@dataclass
class Stock:
    """What a share did.

    Attributes:
        bars: open, high, low, close and volume as traded, by session.
        splits: new shares for an old one, by ex-date.
        dividends: a share of that day, by ex-date.
        not_adjusted: splits that Yahoo lists and has not adjusted for.

    """

    bars: dict[date, tuple[float, float, float, float, float]]
    splits: dict[date, float] = field(default_factory=dict)
    dividends: dict[date, float] = field(default_factory=dict)
    not_adjusted: set[date] = field(default_factory=set)
    currency: str = "USD"


def walk(seed: int, first: date, last: date, price: float = 80.0, **given: Any) -> Stock:
    """A random walk in cents; splits move the price as they do."""
    stock, rng = Stock({}, **given), np.random.default_rng(seed)
    for day in sessions(first, last).tolist():
        price /= stock.splits.get(day, 1.0)
        opened = round(price * float(np.exp(rng.normal(0, 0.004))), 2)
        price = round(opened * float(np.exp(rng.normal(0.0003, 0.015))), 2)
        high, low = (round(each, 2) for each in (max(opened, price) * 1.004, min(opened, price) * 0.996))
        stock.bars[day] = (opened, high, low, price, float(rng.integers(400_000, 900_000) * 100))
    return stock


class Yahoo:
    """The server's answers.

    Args:
        stocks: by ticker.
        clock: until when it knows.

    Attributes:
        faults: what becomes of a ticker's chart, by ticker or for `*`.
        crumb: answer of the crumb's address.

    """

    def __init__(self, stocks: Mapping[str, Stock], clock: SimulatedClock) -> None:
        self.stocks, self.clock = dict(stocks), clock
        self.faults: dict[str, Fault | Reply] = {}
        self.crumb = Reply(b"haT3oykhHqZ")

    def __call__(self, asked: Asked) -> Reply:
        if asked.path.startswith("/fc.yahoo.com"):
            return Reply(b"", 404, {"Set-Cookie": "A3=d=1; Path=/; Max-Age=31557600"})
        if asked.path.endswith("/v1/test/getcrumb"):
            return self.crumb
        if not asked.path.startswith(CHART):
            return Reply(b"<html>no such page</html>", 404)
        ticker = asked.path.removeprefix(CHART)
        fault = self.faults.get(ticker, self.faults.get("*"))
        if isinstance(fault, Reply):
            return fault
        if ticker not in self.stocks:
            error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            return Reply(json.dumps({"chart": {"result": None, "error": error}}).encode(), 404)
        found = self.chart(ticker, int(asked.query["period1"]), int(asked.query["period2"]))
        told = fault(found) if fault else found
        return told if isinstance(told, Reply) else Reply(json.dumps(told).encode())

    def chart(self, ticker: str, begin: int, end: int) -> dict[str, Any]:
        """As Yahoo tells it now."""
        now, stock = self.clock.now(), self.stocks[ticker]
        today = now.astimezone(NEW_YORK).date()
        period = first_session_from(today if now <= at(today, 20) else today + timedelta(days=1))
        rows = [(day, row) for day, row in sorted(stock.bars.items()) if begin <= opens(day) <= end and at(day) <= now]
        made: dict[str, list[Any]] = {name: [] for name in ("open", "high", "low", "close", "volume")}
        for day, row in rows:
            factor = float(
                np.prod([r for d, r in stock.splits.items() if day < d <= today and d not in stock.not_adjusted])
            )
            for name, value in zip(made, row, strict=True):
                if np.isnan(value):
                    made[name].append(None)
                else:
                    made[name].append(round(value * factor) if name == "volume" else float(np.float32(value / factor)))
        events: dict[str, Any] = {}
        for name, told in (("dividends", stock.dividends), ("splits", stock.splits)):
            for day, amount in told.items():
                if begin <= opens(day) <= end and at(day) <= now:
                    events.setdefault(name, {})[str(opens(day))] = self._event(stock, day, amount, today, name)
        times = [opens(day) for day, _ in rows]
        if times and rows[-1][0] == today and now < at(today, 16):
            times[-1] = int(now.timestamp())
        meta = {
            "currency": stock.currency,
            "symbol": ticker,
            "exchangeTimezoneName": "America/New_York",
            "dataGranularity": "1d",
            "currentTradingPeriod": {"regular": {"start": opens(period), "end": int(at(period, 16).timestamp())}},
        }
        quote: dict[str, Any] = made if times else {}
        result = {"meta": meta, "indicators": {"quote": [quote], "adjclose": [{}]}, "events": events}
        if times:
            result["timestamp"] = times
        return {"chart": {"result": [result], "error": None}}

    @staticmethod
    def _event(stock: Stock, day: date, amount: float, today: date, name: str) -> dict[str, Any]:
        if name == "splits":
            upper, lower = (amount, 1) if amount >= 1 else (1, round(1 / amount))
            return {"date": opens(day), "numerator": upper, "denominator": lower, "splitRatio": f"{upper}:{lower}"}
        factor = float(
            np.prod([r for d, r in stock.splits.items() if day < d <= today and d not in stock.not_adjusted])
        )
        return {"date": opens(day), "amount": round(amount / factor, 6)}


def at(day: date, hour: int = 9, minute: int = 30) -> datetime:
    """A time in New York."""
    return datetime.combine(day, time(hour, minute if hour == 9 else 0), NEW_YORK)


def opens(day: date) -> int:
    """When a session opens, as Yahoo stamps its bar."""
    return int(at(day).timestamp())


def evening(day: date) -> datetime:
    """17:30 New York, when collections run."""
    return datetime.combine(day, time(17, 30), NEW_YORK).astimezone(UTC)
