"""Coinbase Exchange: daily candles of crypto pairs, UTC days, without a key. The running candle is left out.

`GET /products/BTC-USD/candles` gives at most 300 rows `[time in seconds, low, high, open, close, volume]`, newest
first. A day without a trade has no candle.
"""

from collections.abc import Sequence
from datetime import time, timedelta
from typing import Any

import polars as pl

from quant_assets.collectors.answers import Answer, Broken, Exhausted, Refused
from quant_assets.collectors.base import Question, Questions, Wanted
from quant_assets.collectors.collect import rows_of
from quant_assets.collectors.crypto import CANDLES, Days
from quant_assets.collectors.histories import Span
from quant_assets.collectors.http import Client, Clock, Pace, Received, retry_after
from quant_assets.collectors.reading import SHAPE_ERRORS, broken, decoded, number, seconds
from quant_assets.collectors.tables import Table
from quant_assets.settings.collecting import CryptoVenueSettings

_MOST = 300


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
        """One question for each 300 days that a pair lacks."""
        return _DAYS.planned(wanted, self._settings.pairs)

    def questions(self, wanted: Wanted) -> Questions:
        """The days of each pair that it lacks."""
        yield from _DAYS.questions(wanted, self._settings.pairs)

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
        except SHAPE_ERRORS as error:
            return broken(error, received)
        over = pl.col("date") < received.fetched_at.date()
        frame = pl.DataFrame(rows, schema=CANDLES.schema, orient="row").filter(over).sort("date")
        return rows_of({CANDLES.name: frame}, f"no candle of {subject} in that span")


def _question(pair: str, subject: str, span: Span) -> Question:
    begin, end = (f"{day}T00:00:00Z" for day in span)
    parameters = {"granularity": 86_400, "start": begin, "end": end}
    return Question("candles", subject, f"/products/{pair}/candles", parameters)


_DAYS = Days(Coinbase.name, "candles", _MOST, _question)


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
