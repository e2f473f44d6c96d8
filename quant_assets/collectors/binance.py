"""Binance: daily candles of crypto pairs, UTC days, without a key. The running candle is left out.

`GET /api/v3/klines` gives at most 1,000 rows `[open time, "open", "high", "low", "close", "volume", close time, …]`.
"""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl

from quant_assets.collectors.answers import Answer, Broken, Exhausted, Nothing, Refused, Rows
from quant_assets.collectors.base import Question, Questions, Wanted
from quant_assets.collectors.collect import rows_of
from quant_assets.collectors.crypto import CANDLES, newest_days
from quant_assets.collectors.http import Client, Clock, Pace, Received, retry_after
from quant_assets.settings.collecting import CryptoVenueSettings

_MOST = 1_000
_FIELDS = 12
_DAY = timedelta(days=1)


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
        """One question for each pair without an answer yet, and one for each 1,000 days that it lacks."""
        newest, today = newest_days(wanted), wanted.now.date()
        return sum(
            1 + (today - newest.get(pair, wanted.since)).days // _MOST
            for pair in self._settings.pairs
            if newest.get(pair, wanted.since) <= today and not wanted.is_done("klines", pair)
        )

    def questions(self, wanted: Wanted) -> Questions:
        """The days of each pair from its newest candle on, which is requested again: a venue may revise it."""
        newest, today = newest_days(wanted), wanted.now.date()
        for pair in self._settings.pairs:
            if wanted.is_done("klines", pair):
                continue
            begin = newest.get(pair, wanted.since)
            while begin <= today:
                end = min(begin + (_MOST - 1) * _DAY, today)
                # Only the last window's subject is the pair: an interrupted history goes on from its newest candle.
                subject = pair if end == today else f"{pair} from {begin}"
                span = {"startTime": _milliseconds(begin), "endTime": _milliseconds(end)}
                parameters = {"symbol": pair.replace("-", ""), "interval": "1d", **span, "limit": _MOST}
                answer = yield Question("klines", subject, "/api/v3/klines", parameters)
                if not isinstance(answer, Rows | Nothing):
                    break
                begin = end + _DAY

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


def _milliseconds(day: date) -> int:
    """Start of a day, in milliseconds since 1970."""
    return int(datetime.combine(day, time(), UTC).timestamp() * 1_000)


def _candle(pair: str, row: Sequence[Any], fetched_at: datetime) -> tuple[Any, ...] | None:
    """A row of the table; None for the current day, which is not over."""
    if len(row) < _FIELDS:
        raise ValueError("a candle has twelve fields")
    closes = datetime.fromtimestamp(row[6] / 1_000, UTC)
    if closes >= fetched_at:
        return None
    day = datetime.fromtimestamp(row[0] / 1_000, UTC).date()
    return (pair, "binance", day, *(float(value) for value in row[1:6]))
