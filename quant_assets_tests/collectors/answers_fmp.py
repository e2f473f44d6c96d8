"""Answers as Financial Modeling Prep gives them, made up, and a server of a plan that has everything."""

import json
from datetime import date, timedelta
from typing import Any

from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Asked, Reply


def price(symbol: str, day: date, close: float) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "date": str(day),
        "adjOpen": close,
        "adjHigh": close * 1.02,
        "adjLow": close * 0.98,
        "adjClose": close,
        "volume": 1_000_000,
    }


def prices(symbol: str, first: date, last: date) -> list[dict[str, Any]]:
    """Every weekday, newest first."""
    days = [first + timedelta(days=each) for each in range((last - first).days + 1)]
    return [price(symbol, day, 100.0 + day.day) for day in reversed(days) if day.weekday() < 5]


def income(symbol: str, **changed: Any) -> dict[str, Any]:
    return {
        "date": "2024-09-28",
        "symbol": symbol,
        "reportedCurrency": "USD",
        "cik": "0000320193",
        "filingDate": "2024-11-01",
        "acceptedDate": "2024-11-01 06:01:36",
        "fiscalYear": "2024",
        "period": "FY",
        "revenue": 391.0,
        "grossProfit": 180.0,
        "operatingIncome": 123.0,
        "netIncome": 93.0,
        "eps": 6.11,
        "epsDiluted": 6.08,
        "weightedAverageShsOut": 15.3,
        "weightedAverageShsOutDil": 15.4,
        **changed,
    }


def balance(symbol: str, **changed: Any) -> dict[str, Any]:
    figures = {"totalAssets": 364.0, "totalStockholdersEquity": 56.0, "totalEquity": 57.0, "totalDebt": 119.0}
    kept = {name: value for name, value in income(symbol).items() if not isinstance(value, float)}
    return {**kept, **figures, **changed}


def delisted(number: int) -> dict[str, Any]:
    return {
        "symbol": f"GONE{number}",
        "companyName": f"Gone {number}, Inc.",
        "exchange": "NYSE",
        "ipoDate": "2001-01-02",
        "delistedDate": "2020-05-06",
    }


class FmpServer:
    """A plan that has everything; `revenue` of the statements may be changed."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock, self.revenue = clock, 391.0

    def __call__(self, asked: Asked) -> Reply:
        found = self.rows(asked.path.removeprefix("/"), asked.query)
        return Reply(json.dumps(found).encode(), headers={"Content-Type": "application/json"})

    def rows(self, path: str, query: Any) -> list[dict[str, Any]]:
        symbol = query.get("symbol", "")
        if path == "historical-price-eod/non-split-adjusted":
            last = min(date.fromisoformat(query["to"]), self.clock.now().date())
            return prices(symbol, date.fromisoformat(query["from"]), last)
        if path == "splits":
            return [{"symbol": symbol, "date": "2020-08-31", "numerator": 4, "denominator": 1}]
        if path == "dividends":
            days = ("date", "recordDate", "paymentDate", "declarationDate")
            paid = {"adjDividend": 0.205, "dividend": 0.82, "yield": 0.7, "frequency": "Quarterly"}
            return [{"symbol": symbol, **dict.fromkeys(days, "2020-08-07"), **paid}]
        period = {"period": "Q4" if query.get("period") == "quarter" else "FY"}
        if path == "income-statement":
            return [income(symbol, revenue=self.revenue, **period)]
        if path == "balance-sheet-statement":
            return [balance(symbol, **period)]
        if path == "delisted-companies":
            page = int(query["page"])
            return [delisted(each) for each in range(103)][100 * page : 100 * page + 100]
        if path == "symbol-change":
            changed = (("FB", "META", "2022-06-09"), ("ANTM", "ELV", "2022-06-28"))
            return [{"date": day, "companyName": new, "oldSymbol": old, "newSymbol": new} for old, new, day in changed]
        if path == "sp500-constituent":
            rest = {"sector": "Technology", "subSector": "Software", "dateFirstAdded": "2020-01-02"}
            return [{"symbol": each, "name": each, "headQuarter": "X", "cik": "1", **rest} for each in ("AAPL", "MSFT")]
        if path == "historical-sp500-constituent":
            taken = {"removedTicker": "JNPR", "removedSecurity": "Juniper Networks", "reason": "acquired"}
            new = {"dateAdded": "July 9, 2025", "addedSecurity": "Datadog", "date": "2025-07-08", "symbol": "DDOG"}
            gone = {"dateAdded": "July 09, 2025", "addedSecurity": None, "date": "2025-07-09", "symbol": None}
            return [{**new, **taken}, {**gone, **taken, "removedTicker": "OLD"}]
        return []
