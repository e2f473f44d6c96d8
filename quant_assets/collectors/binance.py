"""Binance: daily candles of crypto pairs, UTC days, without a key. The running candle is left out.

`GET /api/v3/klines` gives at most 1,000 rows `[open time, "open", "high", "low", "close", "volume", close time, …]`.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

import polars as pl

from quant_assets.collectors.answers import Answer, Broken, Exhausted, Nothing, Refused
from quant_assets.collectors.base import Question, Questions, Wanted
from quant_assets.collectors.collect import rows_of
from quant_assets.collectors.crypto import CANDLES, Days
from quant_assets.collectors.histories import Span
from quant_assets.collectors.http import Client, Clock, Pace, Received, retry_after
from quant_assets.settings.collecting import CryptoVenueSettings

_MOST = 1_000
_FIELDS = 12


class Binance:
    """Collector of Binance.

    Args:
        settings: address and pairs.

    """

    name = "binance"
    tables = (CANDLES,)

    def __init__(self, settings: CryptoVenueSettings) -> None:
        self._settings = settings

    def client(self, clock: Clock) -> Client:
        """6,000 units of weight per minute and address, of which a question costs 2."""
        # 418 is the ban that follows ignored 429s: neither status is retried at once.
        return Client(self._settings.url, clock=clock, paces=(Pace(1_000, 60.0),), retried=frozenset({500, 502, 503}))

    def planned(self, wanted: Wanted) -> int:
        """One question for each 1,000 days that a pair lacks."""
        return _DAYS.planned(wanted, self._settings.pairs)

    def questions(self, wanted: Wanted) -> Questions:
        """The days of each pair that it lacks."""
        yield from _DAYS.questions(wanted, self._settings.pairs)

    def read(self, endpoint: str, subject: str, received: Received) -> Answer:
        """Candles of days that were over when they were fetched."""
        try:
            body: Any = json.loads(received.body)
        except ValueError:
            return Broken(f"status {received.status}, not JSON: {received.shown}")
        if received.status != 200:
            return self._refusal(received, body)
        try:
            rows = [_candle(subject.split(" ")[0], row, received.fetched_at) for row in body]
        except (TypeError, ValueError, IndexError, KeyError):
            return Broken(f"not the rows of klines: {received.shown}")
        frame = pl.DataFrame([row for row in rows if row], schema=CANDLES.schema, orient="row")
        return rows_of({CANDLES.name: frame}, f"no candle of {subject} in that span")

    @staticmethod
    def _refusal(received: Received, body: Any) -> Answer:
        message = str(body.get("msg", "")) if isinstance(body, dict) else received.shown
        if received.status in (418, 429):
            seconds = retry_after(received.headers, received.fetched_at)
            return Exhausted(message, None if seconds is None else received.fetched_at + timedelta(seconds=seconds))
        if received.status == 451:
            remedy = "set collecting.binance.url to a venue that serves your country (https://api.binance.us)"
            return Refused(message or "not available from this country", remedy, "provider")
        if received.status == 400 and isinstance(body, dict) and body.get("code") == -1121:
            return Refused(message, "correct collecting.binance.pairs: Binance writes BTC-USDT as BTCUSDT")
        if received.status == 404:
            return Nothing(message)
        return Broken(f"status {received.status}: {message or received.shown}")


def _question(pair: str, subject: str, span: Span) -> Question:
    begin, end = (int(datetime.combine(day, time(), UTC).timestamp() * 1_000) for day in span)
    parameters = {"symbol": pair.replace("-", ""), "interval": "1d", "startTime": begin, "endTime": end, "limit": _MOST}
    return Question("klines", subject, "/api/v3/klines", parameters)


_DAYS = Days(Binance.name, "klines", _MOST, _question)


def _candle(pair: str, row: Sequence[Any], fetched_at: datetime) -> tuple[Any, ...] | None:
    """A row of the table; None for the current day, which is not over."""
    if len(row) < _FIELDS:
        raise ValueError("a candle has twelve fields")
    closes = datetime.fromtimestamp(row[6] / 1_000, UTC)
    if closes >= fetched_at:
        return None
    day = datetime.fromtimestamp(row[0] / 1_000, UTC).date()
    return (pair, "binance", day, *(float(value) for value in row[1:6]))
