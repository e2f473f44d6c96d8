"""ALFRED on loopback: a made-up history of vintages, answered as FRED's interface does, its limits and clipping
included."""

import json
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Asked, Reply

#: (period, day of release, value; None is a withdrawal)
Given = tuple[date, date, float | None]
_LAST = date(9999, 12, 31)
_NO_MORE: Given = (_LAST, _LAST, None)


def as_known(history: Iterable[Given], on: date) -> dict[date, float | None]:
    """What each period was given as on a day: the slow truth."""
    found: dict[date, float | None] = {}
    for period, released, value in sorted(history, key=lambda each: each[1]):
        if released <= on:
            found[period] = value
    return found


class FredServer:
    """Series whose releases after the clock's day are not known yet.

    Args:
        clock: of the day.
        histories: by series; no period has two values on one day.
        most: vintage dates that one request may span.
        page: most values of an answer.

    """

    def __init__(
        self, clock: SimulatedClock, histories: dict[str, list[Given]], most: int = 2_000, page: int = 100_000
    ) -> None:
        self.clock, self.histories, self.most, self.page = clock, histories, most, page

    def __call__(self, asked: Asked) -> Reply:
        query = asked.query
        if len(query.get("api_key", "")) < 3:
            return self._error("Bad Request.  The value for variable api_key is not registered.")
        name = query["series_id"]
        if name not in self.histories:
            return self._error("Bad Request.  The series does not exist.")
        today = self.clock.now().date()
        history = sorted(each for each in self.histories[name] if each[1] <= today)
        first = date.fromisoformat(query.get("realtime_start", "1776-07-04"))
        last = date.fromisoformat(query.get("realtime_end", "9999-12-31"))
        dates = sorted({released for _, released, _ in history if first <= released <= last})
        if asked.path == "/series":
            told = {"title": f"Series {name}", "frequency": "Quarterly", "units": "Dollars"}
            return self._sent({"seriess": [{"id": name, **told, "seasonal_adjustment": "None"}]})
        if asked.path == "/series/vintagedates":
            offset, limit = int(query.get("offset", 0)), int(query["limit"])
            return self._sent({"count": len(dates), "vintage_dates": [str(each) for each in dates][offset:][:limit]})
        if len(dates) > self.most:
            return self._error(
                f"Bad Request.  There are {len(dates)} vintage dates in the specified real-time period: {first} to "
                f"{last}.  This exceeds the maximum number of vintage dates allowed ({self.most})."
            )
        return self._observations(history, first, last, int(query.get("offset", 0)))

    def _observations(self, history: list[Given], first: date, last: date, offset: int) -> Reply:
        rows = []
        for (period, released, value), (next_period, again, _) in zip(history, [*history[1:], _NO_MORE], strict=True):
            ends = again - timedelta(days=1) if next_period == period else _LAST
            if released <= last and ends >= first:
                rows.append(
                    {
                        "realtime_start": str(max(released, first)),
                        "realtime_end": str(min(ends, last)),
                        "date": str(period),
                        "value": "." if value is None else str(value),
                    }
                )
        return self._sent(
            {
                "realtime_start": str(first),
                "realtime_end": str(last),
                "count": len(rows),
                "offset": offset,
                "limit": self.page,
                "observations": rows[offset:][: self.page],
            }
        )

    @staticmethod
    def _sent(found: Any) -> Reply:
        return Reply(json.dumps(found).encode(), headers={"Content-Type": "application/json; charset=UTF-8"})

    @staticmethod
    def _error(message: str) -> Reply:
        return Reply(json.dumps({"error_code": 400, "error_message": message}).encode(), 400)
