"""`python -m benchmarks.collecting [--tickers 503]`: first history and daily update of a universe from Yahoo.

Yahoo is a local process that answers with charts of its shape; the collector, its session, limits and stores are the
real ones. A clock that does not wait counts the waiting: *seconds* follow from the limits in the settings, *CPU* is the
collecting process's, including the reading into tables.
"""

import argparse
import json
import multiprocessing
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

DAYS = sessions(date(2015, 1, 2), date(2026, 11, 30)).tolist()


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


class _Charts(BaseHTTPRequestHandler):
    """Charts of all tickers, the same walk with different starts."""

    protocol_version = "HTTP/1.1"
    opens = np.array([int(published(day).timestamp()) - 7 * 3600 for day in DAYS])
    walk = np.exp(np.cumsum(np.random.default_rng(3).normal(0.0003, 0.015, len(DAYS))))

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        body = b"crumb" if "/chart/" not in split.path else self._chart(split.path, parse_qs(split.query))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _chart(self, path: str, query: dict[str, list[str]]) -> bytes:
        ticker, begin, end = path.rpartition("/")[2], int(query["period1"][0]), int(query["period2"][0])
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

    def log_message(self, *_: object) -> None:
        """Print nothing on standard error."""


def _serve(connection: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Charts)
    connection.send(server.server_port)
    server.serve_forever()


def measured(tickers: int) -> Table:
    """Collect the history up to the second last session, and then the last session."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    table = Table(
        "", "requests", "seconds by the limits", "CPU seconds", "MB kept", "new bars", title=f"{tickers} tickers"
    )
    names = tuple(f"N{number:03d}" for number in range(tickers))
    with tempfile.TemporaryDirectory() as folder:
        yahoo = YahooSettings(url=url)
        settings = CollectingSettings(folder=folder, universe={"it": names}, yahoo=yahoo)
        clock = Clock(published(DAYS[-2]).astimezone(UTC) + timedelta(hours=1))
        collection = Collection(settings, DAYS[0], published(DAYS[-2]), clock)
        _collected("first history", collection, table)
        clock.sleep((published(DAYS[-1]) + timedelta(hours=1) - clock.now()).total_seconds())
        _collected("daily update", replace(collection, closed=published(DAYS[-1])), table)
        began = time.process_time()
        view(settings, published(DAYS[-1]) + timedelta(days=1))
        table.add_row("files for the assets", "", "", f"{time.process_time() - began:.1f}", "", "")
    server.terminate()
    server.join()
    return table


def _collected(name: str, collection: Collection, table: Table) -> None:
    began, used, before = collection.clock.now(), time.process_time(), _kept(collection.settings.path)
    summary = collection.collect("yahoo")
    table.add_row(
        name,
        f"{summary.asked:,}",
        f"{(collection.clock.now() - began).total_seconds():,.0f}",
        f"{time.process_time() - used:.1f}",
        f"{_kept(collection.settings.path) - before:.0f}",
        f"{summary.new.get('bars', 0):,}",
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
