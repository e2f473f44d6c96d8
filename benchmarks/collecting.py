"""`python -m benchmarks.collecting [--tickers 503]`: first history and daily update of a universe from Yahoo and FMP.

Both are a local process that answers in their shapes; the collectors, their sessions, limits and stores are the real
ones. A clock that does not wait counts the waiting: *seconds* follow from the limits in the settings, *CPU* is the
collecting process's, including the reading into tables.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from rich.console import Console
from rich.table import Table

from quant_assets.collectors.collection import Collection
from quant_assets.collectors.view import view
from quant_assets.market.calendar import sessions
from quant_assets.profile import published
from quant_assets.settings.collecting import CollectingSettings, YahooSettings
from quant_assets.settings.collecting_figures import FmpSettings

DAYS = sessions(date(2015, 1, 2), date(2026, 11, 30)).tolist()
#: Kinds of data of FMP: seven requests for a ticker.
KINDS = ("prices", "splits", "dividends", "income", "balance")


class Clock:
    """A clock that waiting advances."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """The time, in UTC."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self._now += timedelta(seconds=seconds)


class _Answers(BaseHTTPRequestHandler):
    """Charts of all tickers, the same walk with different starts; the same prices and made-up statements by FMP."""

    protocol_version = "HTTP/1.1"
    opens = np.array([int(published(day).timestamp()) - 7 * 3600 for day in DAYS])
    walk = np.exp(np.cumsum(np.random.default_rng(3).normal(0.0003, 0.015, len(DAYS))))

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        if "/chart/" in split.path:
            body = self._chart(split.path, query)
        elif split.path.startswith("/fmp/"):
            body = json.dumps(self._rows(split.path, query)).encode()
        else:
            body = b"crumb"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _chart(self, path: str, query: dict[str, str]) -> bytes:
        ticker, begin, end = path.rpartition("/")[2], int(query["period1"]), int(query["period2"])
        chosen = (self.opens >= begin) & (self.opens <= end)
        close = np.round((20.0 + sum(map(ord, ticker)) % 300) * self.walk[chosen], 2).astype(np.float32)
        quote: dict[str, list[Any]] = {name: close.tolist() for name in ("open", "high", "low", "close")}
        quote["volume"] = [1_234_500] * len(close)
        last = int(self.opens[self.opens <= end][-1])
        meta = {
            "currency": "USD",
            "symbol": ticker,
            "exchangeTimezoneName": "America/New_York",
            "dataGranularity": "1d",
            "currentTradingPeriod": {"regular": {"start": last, "end": last + 23_400}},
        }
        indicators = {"quote": [quote], "adjclose": [{"adjclose": close.tolist()}]}
        result = {"meta": meta, "timestamp": self.opens[chosen].tolist(), "indicators": indicators}
        return json.dumps({"chart": {"result": [result], "error": None}}).encode()

    def _rows(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        """Every bar that is asked for; a split; a dividend and a statement each quarter, a statement each year."""
        symbol, kind = query["symbol"], path.rpartition("/")[2]
        if kind == "non-split-adjusted":
            days = [(day, close) for day, close in zip(DAYS, self.walk, strict=True) if query["from"] <= str(day)]
            names = ("adjOpen", "adjHigh", "adjLow", "adjClose")
            bars = [(str(day), round(100.0 * close, 2)) for day, close in reversed(days) if str(day) <= query["to"]]
            return [{"symbol": symbol, "date": day, **dict.fromkeys(names, x), "volume": 1e6} for day, x in bars]
        if kind == "splits":
            return [{"symbol": symbol, "date": "2020-08-31", "numerator": 4, "denominator": 1}]
        ends = [date(year, month, 28) for year in range(2015, 2026) for month in (3, 6, 9, 12)]
        if kind == "dividends":
            paid = {
                "dividend": 0.82,
                "frequency": "Quarterly",
                "declarationDate": "",
                "recordDate": "",
                "paymentDate": "",
            }
            return [{"symbol": symbol, "date": str(end), **paid} for end in ends]
        quarterly = query["period"] == "quarter"
        figures = dict.fromkeys(("grossProfit", "operatingIncome", "netIncome", "eps", "epsDiluted"), 9.0)
        figures |= dict.fromkeys(("weightedAverageShsOut", "weightedAverageShsOutDil", "totalAssets"), 50.0)
        figures |= dict.fromkeys(("totalStockholdersEquity", "totalDebt", "revenue"), 20.0)
        return [
            {
                "symbol": symbol,
                "date": str(end),
                "period": f"Q{end.month // 3}" if quarterly else "FY",
                "filingDate": str(end + timedelta(days=35)),
                "acceptedDate": f"{end + timedelta(days=35)} 06:01:36",
                "fiscalYear": str(end.year),
                "reportedCurrency": "USD",
                **figures,
            }
            for end in (ends if quarterly else ends[3::4])
        ]

    def log_message(self, *_: object) -> None:
        """Print nothing on standard error."""


def _serve(connection: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    connection.send(server.server_port)
    server.serve_forever()


def measured(tickers: int) -> Table:
    """Collect the history up to the second last session, and then the last session."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    table = Table(
        "", "requests", "seconds by the limits", "CPU seconds", "MB kept", "new facts", title=f"{tickers} tickers"
    )
    names = tuple(f"N{number:03d}" for number in range(tickers))
    os.environ.setdefault("FMP_API_KEY", "a-made-up-key")
    with tempfile.TemporaryDirectory() as folder:
        settings = CollectingSettings(
            folder=folder,
            universe={"it": names},
            yahoo=YahooSettings(url=url),
            fmp=FmpSettings(url=f"{url}/fmp", kinds=KINDS),
        )
        for name, provider in (("Yahoo", "yahoo"), ("FMP", "fmp")):
            clock = Clock(published(DAYS[-2]).astimezone(UTC) + timedelta(hours=1))
            collection = Collection(settings, DAYS[0], published(DAYS[-2]), clock)
            _collected(f"{name}: first history", collection, provider, table)
            clock.sleep((published(DAYS[-1]) + timedelta(hours=1) - clock.now()).total_seconds())
            _collected(f"{name}: daily update", replace(collection, closed=published(DAYS[-1])), provider, table)
        began = time.process_time()
        view(settings, published(DAYS[-1]) + timedelta(days=1))
        table.add_row("files for the assets", "", "", f"{time.process_time() - began:.1f}", "", "")
    server.terminate()
    server.join()
    return table


def _collected(name: str, collection: Collection, provider: str, table: Table) -> None:
    began, used, before = collection.clock.now(), time.process_time(), _kept(collection.settings.path)
    summary = collection.collect(provider)
    table.add_row(
        name,
        f"{summary.asked:,}",
        f"{(collection.clock.now() - began).total_seconds():,.0f}",
        f"{time.process_time() - used:.1f}",
        f"{_kept(collection.settings.path) - before:.0f}",
        f"{sum(summary.new.values()):,}",
    )


def _kept(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tickers", type=int, default=503, help="of the universe [default: 503]")
    Console(width=120).print(measured(parser.parse_args(arguments).tickers))


if __name__ == "__main__":
    main()
