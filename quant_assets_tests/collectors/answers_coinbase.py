"""Coinbase on loopback, with made-up candles."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Answering, Asked, Reply


def candle(day: date, close: float) -> list[Any]:
    begins = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    return [begins, close * 0.97, close * 1.02, close * 0.99, close, 12.5]


def venue(clock: SimulatedClock, listed: date = date(2020, 1, 1), missing: frozenset[date] = frozenset()) -> Answering:
    """Every day since it was listed up to the running one, newest first; more than 300 are refused."""

    def answer(asked: Asked) -> Reply:
        first, last = (datetime.fromisoformat(asked.query[name]).date() for name in ("start", "end"))
        days = [first + timedelta(days=each) for each in range((last - first).days + 1)]
        if len(days) > 300:
            return Reply(b'{"message":"granularity too small. Count of aggregations requested exceeds 300"}', 400)
        there = [day for day in reversed(days) if listed <= day <= clock.now().date() and day not in missing]
        return Reply(json.dumps([candle(day, 100.0 + day.day) for day in there]).encode())

    return answer
