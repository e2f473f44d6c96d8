"""Coinbase Exchange: daily candles of crypto pairs, UTC days, without a key. The running candle is left out.

`GET /products/BTC-USD/candles` gives at most 300 rows `[time in seconds, low, high, open, close, volume]`, newest
first. A day without a trade has no candle.
"""

from collections.abc import Sequence
from datetime import time, timedelta
from typing import Any

import polars as pl

from quant_assets.collectors.answers import Answer, Broken, Exhausted, Nothing, Refused, Rows
from quant_assets.collectors.base import Question, Questions, Wanted
from quant_assets.collectors.collect import rows_of
from quant_assets.collectors.crypto import CANDLES, newest_days
from quant_assets.collectors.http import Client, Clock, Pace, Received, retry_after
from quant_assets.collectors.reading import WRONG, broken, decoded, number, seconds
from quant_assets.collectors.tables import Table
from quant_assets.settings.collecting import CryptoVenueSettings

_MOST = 300
_DAY = timedelta(days=1)


class Coinbase:
    """Collector of Coinbase Exchange.

    Args:
        settings: address and pairs.

    """

    name = "coinbase"
    tables: Sequence[Table] = (CANDLES,)

    def __init__(self, settings: CryptoVenueSettings) -> None:
        self._settings = settings

    def client(self, clock: Clock) -> Client:
        """Half of the public limit of ten requests per second."""
        return Client(self._settings.url, clock=clock, paces=(Pace(5, 1.0),))

    def planned(self, wanted: Wanted) -> int:
        """One question for each pair without an answer yet, and one for each 300 days that it lacks."""
        newest, today = newest_days(wanted), wanted.now.date()
        return sum(
            1 + (today - newest.get(pair, wanted.since)).days // _MOST
            for pair in self._settings.pairs
            if newest.get(pair, wanted.since) <= today and not wanted.is_done("candles", pair)
        )

    def questions(self, wanted: Wanted) -> Questions:
        """The days of each pair from its newest candle on, which is requested again: a venue may revise it."""
        newest, today = newest_days(wanted), wanted.now.date()
        for pair in self._settings.pairs:
            if wanted.is_done("candles", pair):
                continue
            begin = newest.get(pair, wanted.since)
            while begin <= today:
                end = min(begin + (_MOST - 1) * _DAY, today)
                # Only the last window's subject is the pair: an interrupted history goes on from its newest candle.
                subject = pair if end == today else f"{pair} from {begin}"
                parameters = {"granularity": 86_400, "start": f"{begin}T00:00:00Z", "end": f"{end}T00:00:00Z"}
                answer = yield Question("candles", subject, f"/products/{pair}/candles", parameters)
                if not isinstance(answer, Rows | Nothing):
                    break
                begin = end + _DAY

    def read(self, endpoint: str, subject: str, received: Received) -> Answer:
        """Candles of days that were over when they were fetched."""
        body = decoded(received)
        if isinstance(body, Broken):
            return body
        pair = subject.split(" ")[0]
        try:
            if received.status != 200:
                return _refusal(received, str(body["message"]))
            if not isinstance(body, list):
                raise TypeError("no list of candles")
            rows = [_candle(pair, *row) for row in body]
        except WRONG as error:
            return broken(error, received)
        over = pl.col("date") < received.fetched_at.date()
        frame = pl.DataFrame(rows, schema=CANDLES.schema, orient="row").filter(over).sort("date")
        return rows_of({CANDLES.name: frame}, f"no candle of {subject} in that span")


def _candle(pair: str, begins: Any, low: Any, high: Any, opened: Any, close: Any, volume: Any) -> tuple[Any, ...]:
    """A row of the table.

    Raises:
        TypeError, ValueError: it is not a daily candle.

    """
    at = seconds(begins)
    if at.time() != time():
        raise ValueError(f"a candle begins at {at:%H:%M}, which is no day")
    figures = [number(value) for value in (opened, high, low, close, volume)]
    if None in figures:
        raise ValueError(f"the candle of {at.date()} has a null")
    return (pair, "coinbase", at.date(), *figures)


def _refusal(received: Received, message: str) -> Answer:
    if received.status == 429:
        wait = retry_after(received.headers, received.fetched_at)
        return Exhausted(message, None if wait is None else received.fetched_at + timedelta(seconds=wait))
    if received.status == 404:
        return Refused(message, "correct collecting.coinbase.pairs: Coinbase has BTC-USD where Binance has BTC-USDT")
    return Broken(f"status {received.status}: {message}")
