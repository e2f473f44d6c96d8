"""FRED and ALFRED: macro series with every vintage, so that the values known on a day can be reconstructed.

A value is known from the `realtime_start` of its row on. `realtime_end` is not kept: for the newest rows it is the end
of the requested range. A withdrawn value (".", as at a change of the base year) is null from that day on.

One request may span at most 2,000 vintage dates, and daily series have more: the dates are requested first, then the
values in windows of dates. A window begins with the last date of the window before: in it every older value appears to
begin on that date, and these rows are left out.

This client is used instead of fredapi 0.5.2, which cannot request windows, waits forever without an answer, does not
retry after a 429, has the key in the address of its errors, takes a page of HTML for XML, and returns frames instead of
the answers that the raw store keeps. The tests use fredapi as a second reader of the same answers.
"""

import itertools
from collections.abc import Generator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from quant_assets.collectors.answers import Answer, Broken, Exhausted, Refused, Rows
from quant_assets.collectors.base import Question, Questions, Wanted
from quant_assets.collectors.collect import rows_of
from quant_assets.collectors.http import Client, Clock, Pace, Received
from quant_assets.collectors.keys import key
from quant_assets.collectors.reading import SHAPE_ERRORS, broken, decoded, field, number, rows
from quant_assets.collectors.tables import FETCHED_AT, Table
from quant_assets.settings.collecting_figures import FredSettings

#: Description of a series.
SERIES = Table(
    "series",
    pl.Schema(
        {
            "series_id": pl.String,
            "title": pl.String,
            "frequency": pl.String,
            "units": pl.String,
            "seasonal_adjustment": pl.String,
        }
    ),
    ("series_id",),
)
#: Days on which a value was first published, revised or withdrawn.
VINTAGES = Table("vintages", pl.Schema({"series_id": pl.String, "vintage": pl.Date}), ("series_id", "vintage"))
#: The value of each period (its first day) as `released` on a day; a withdrawn value is null.
OBSERVATIONS = Table(
    "observations",
    pl.Schema({"series_id": pl.String, "period": pl.Date, "released": pl.Date, "value": pl.Float64}),
    ("series_id", "period", "released"),
)
#: Requested vintages: from `first` to `last`, `rows` of `count` values from `offset` on.
WINDOWS = Table(
    "windows",
    pl.Schema(
        {
            "series_id": pl.String,
            "first": pl.Date,
            "last": pl.Date,
            "offset": pl.Int64,
            "rows": pl.Int64,
            "count": pl.Int64,
        }
    ),
    ("series_id", "first", "last", "offset"),
    of="asked",
)

_SERIES_FIELDS = {
    "series_id": ("id",),
    "title": ("title",),
    "frequency": ("frequency",),
    "units": ("units",),
    "seasonal_adjustment": ("seasonal_adjustment",),
}
#: Before any vintage.
_BEGINNING = date(1776, 7, 4)
#: Time zone of vintages: FRED is in St. Louis.
_THERE = ZoneInfo("America/Chicago")
_MOST_DATES, _MOST_VALUES = 10_000, 100_000
_WITHDRAWN = "."
#: Fewest vintages of a window: the one with which it begins, and one more.
_FEWEST = 2


class Fred:
    """Collector of FRED.

    Args:
        settings: address, series, limits.

    """

    name = "fred"
    tables: Sequence[Table] = (SERIES, VINTAGES, OBSERVATIONS, WINDOWS)

    def __init__(self, settings: FredSettings) -> None:
        self._settings = settings

    def client(self, clock: Clock) -> Client:
        """120 requests per minute; after a 429 it waits for 20 seconds, then 40.

        Raises:
            SettingsError: FRED_API_KEY is not set.

        """
        return Client(
            self._settings.url,
            clock=clock,
            # Also two per second: bursts are answered with 429 long before the limit per minute.
            paces=(Pace(self._settings.requests_a_minute, 60.0), Pace(2, 1.0)),
            secrets={"api_key": key("FRED_API_KEY", "https://fredaccount.stlouisfed.org/apikeys")},
            secrets_in="query",  # FRED takes the key nowhere else
            pause=20.0,
            attempts=3,
        )

    def planned(self, wanted: Wanted) -> int:
        """Unanswered questions per series: its description, its dates and one window; long series have more windows."""
        described = set(wanted.tables.newest(SERIES.name)["series_id"])
        windows, vintages = wanted.tables.newest(WINDOWS.name), wanted.tables.newest(VINTAGES.name)
        count = 0
        for name in self._settings.series:
            dates = vintages.filter(series_id=name)["vintage"].to_list()
            dated = wanted.is_done("vintages", name)
            through, _ = _collected(windows.filter(series_id=name), dates)
            count += (name not in described and not wanted.is_done("series", name)) + (not dated)
            count += not (dated and through == max(dates, default=None))
        return count

    def questions(self, wanted: Wanted) -> Questions:
        """The descriptions of the series, their vintage dates, and their values in windows."""
        described = set(wanted.tables.newest(SERIES.name)["series_id"])
        windows, vintages = wanted.tables.newest(WINDOWS.name), wanted.tables.newest(VINTAGES.name)
        for name in self._settings.series:
            if name not in described and not wanted.is_done("series", name):
                answer = yield _question("series", name, "/series")
                if isinstance(answer, Refused):
                    continue
            dates = vintages.filter(series_id=name)["vintage"].to_list()
            through, begin = _collected(windows.filter(series_id=name), dates)
            if not wanted.is_done("vintages", name):
                dates = yield from _dates(name, begin)
            elif through == max(dates, default=None):
                continue
            yield from self._values(name, begin, [day for day in dates if day >= begin])

    def _values(self, name: str, begin: date, dates: list[date]) -> Questions:
        """The values of the vintages after `begin`, which is the first vintage unless it is before all of them."""
        size = self._settings.vintages_a_request
        while dates and dates != [begin]:
            window = dates[:size]
            answer = yield from _window(name, begin, window[-1])
            if isinstance(answer, Refused) and "vintage dates" in answer.why and size > _FEWEST:
                size = max(_FEWEST, size // 2)  # FRED counts differently, or has lowered its limit
            elif isinstance(answer, Rows):
                begin = window[-1]
                dates = dates[len(window) - 1 :]
            else:
                return

    def read(self, endpoint: str, subject: str, received: Received) -> Answer:
        """Rows of the endpoint; a refusal in FRED's words."""
        body = decoded(received)
        if isinstance(body, Broken):
            return body
        name = subject.split(" ")[0]
        try:
            if received.status != 200:
                return _refusal(received, str(field(body, "error_message", "message")))
            if endpoint == "series":
                frames = {SERIES.name: rows(field(body, "seriess"), SERIES, _SERIES_FIELDS)}
            elif endpoint == "vintages":
                dates = [(name, date.fromisoformat(day)) for day in field(body, "vintage_dates")]
                frames = {VINTAGES.name: pl.DataFrame(dates, schema=VINTAGES.schema, orient="row")}
            else:
                frames = _observations(name, body)
        except SHAPE_ERRORS as error:
            return broken(error, received)
        return rows_of(frames, f"FRED has no {endpoint} of {subject}")


def _question(endpoint: str, subject: str, path: str, **parameters: Any) -> Question:
    """`subject` begins with the name of the series."""
    name = subject.split(" ")[0]
    return Question(endpoint, subject, path, {"series_id": name, "file_type": "json", **parameters})


def _collected(windows: pl.DataFrame, vintages: Sequence[date]) -> tuple[date | None, date]:
    """The last collected vintage of a series, and the first vintage of the next window.

    A vintage that was fetched on its own day may change until that day is over: the next window begins before it.
    """
    complete = windows.group_by("first", "last").agg(
        pl.col("rows").sum() >= pl.col("count").max(), pl.col(FETCHED_AT).min()
    )
    complete = complete.filter("rows").sort("last", FETCHED_AT)
    if not len(complete):
        return None, _BEGINNING
    through, fetched_at = complete.select("last", FETCHED_AT).row(-1)
    on = fetched_at.astimezone(_THERE).date()
    over = [vintage for vintage in vintages if vintage <= through and vintage < on]
    return through, max(over, default=_BEGINNING)


def _dates(name: str, begin: date) -> Generator[Question, Answer, list[date]]:
    """The vintage dates from `begin` on."""
    dates = list[date]()
    for page in itertools.count():
        subject = f"{name} page {page}" if page else name
        parameters = {"realtime_start": str(begin), "limit": _MOST_DATES, "offset": page * _MOST_DATES or None}
        answer = yield _question("vintages", subject, "/series/vintagedates", **parameters)
        if not isinstance(answer, Rows):
            break
        vintages = answer.payload[VINTAGES.name]["vintage"].to_list()
        dates += vintages
        if len(vintages) < _MOST_DATES:
            break
    return dates


def _window(name: str, first: date, last: date) -> Generator[Question, Answer, Answer]:
    """Every value of a window, in pages."""
    offset = 0
    while True:
        subject = f"{name} {first} to {last}" + (f" from {offset}" if offset else "")
        parameters = {"realtime_start": str(first), "realtime_end": str(last), "limit": _MOST_VALUES}
        answer = yield _question("observations", subject, "/series/observations", **parameters, offset=offset or None)
        if not isinstance(answer, Rows):
            return answer
        page = answer.payload[WINDOWS.name].row(0, named=True)
        offset += page["rows"]
        if offset >= page["count"] or not page["rows"]:
            return answer


def _observations(name: str, body: Mapping[str, Any]) -> dict[str, pl.DataFrame]:
    """Values that begin in a window, and the window; nothing for a window without values."""
    first, last = (date.fromisoformat(field(body, edge)) for edge in ("realtime_start", "realtime_end"))
    observations, count = field(body, "observations"), int(field(body, "count"))
    values = [
        (
            name,
            date.fromisoformat(field(row, "date")),
            date.fromisoformat(field(row, "realtime_start")),
            None if field(row, "value") == _WITHDRAWN else _figure(row["value"]),
        )
        for row in observations
    ]
    window = (name, first, last, int(body.get("offset", 0)), len(values), count)
    return {
        # Values on the first date began before it: the window before has them.
        OBSERVATIONS.name: pl.DataFrame(
            [row for row in values if row[2] != first], schema=OBSERVATIONS.schema, orient="row"
        ),
        WINDOWS.name: pl.DataFrame([window] if values else [], schema=WINDOWS.schema, orient="row"),
    }


def _figure(value: Any) -> float:
    """A value that is not null.

    Raises:
        ValueError: it is null, which FRED does not use.

    """
    figure = number(value)
    if figure is None:
        raise ValueError("a value is null")
    return figure


def _refusal(received: Received, message: str) -> Answer:
    if received.status == 429:
        return Exhausted(message, received.fetched_at + timedelta(minutes=1))
    if "api_key" in message:
        remedy = "set FRED_API_KEY to the key of https://fredaccount.stlouisfed.org/apikeys"
        return Refused(message, remedy, "provider")
    if "series does not exist" in message:
        return Refused(message, "correct collecting.fred.series")
    if "vintage dates" in message:
        return Refused(message, "windows of half as many are asked for; lower collecting.fred.vintages_a_request")
    return Broken(f"status {received.status}: {message[:160]}")
