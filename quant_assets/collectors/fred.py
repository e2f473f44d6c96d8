"""FRED and ALFRED: macro series with every vintage, so that what was known on a day can be told.

A value is known from the `realtime_start` of its row on. `realtime_end` is not kept: of the newest rows it is the end
of what was asked for. A value that is withdrawn (".", as at a change of the base year) is null from that day on.

One request may span at most 2,000 vintage dates, and daily series have more: their dates are asked for first, and then
windows of them. Each begins with the last date of the one before: in it every older value is given as if it had begun
there, and these rows are left out.

Our own client asks, not fredapi 0.5.2, which suffices for none of it: it cannot ask in windows, waits for ever where
nobody answers, never asks again after a 429, has the key in the address of its errors, takes a page of HTML for XML,
and returns frames instead of the answers that the raw store keeps. It is the tests' second reader of the same answers.
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
from quant_assets.collectors.reading import WRONG, broken, decoded, field, number, rows
from quant_assets.collectors.tables import FETCHED_AT, Table
from quant_assets.settings.collecting_figures import FredSettings

#: What a series is.
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
#: Days on which a value was given for the first time, revised or withdrawn.
VINTAGES = Table("vintages", pl.Schema({"series_id": pl.String, "vintage": pl.Date}), ("series_id", "vintage"))
#: What each period (its first day) was given as on `released`; a value that is withdrawn is null.
OBSERVATIONS = Table(
    "observations",
    pl.Schema({"series_id": pl.String, "period": pl.Date, "released": pl.Date, "value": pl.Float64}),
    ("series_id", "period", "released"),
)
#: Which vintages have been asked for: from `first` to `last`, `rows` of `count` values from `offset` on.
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
#: Whose day a vintage is: FRED is in St. Louis.
_THERE = ZoneInfo("America/Chicago")
_MOST_DATES, _MOST_VALUES = 10_000, 100_000
_WITHDRAWN = "."
#: A window has a vintage besides the one with which it begins.
_FEWEST = 2


class Fred:
    """The collector.

    Args:
        settings: address, series, limits.

    """

    name = "fred"
    tables: Sequence[Table] = (SERIES, VINTAGES, OBSERVATIONS, WINDOWS)

    def __init__(self, settings: FredSettings) -> None:
        self._settings = settings

    def client(self, clock: Clock) -> Client:
        """120 requests a minute; after a 429 it waits for 20 seconds, then 40.

        Raises:
            SettingsError: FRED_API_KEY is not set.

        """
        return Client(
            self._settings.url,
            clock=clock,
            # Two a second besides: bursts are answered with 429 long before the minute's limit.
            paces=(Pace(self._settings.requests_a_minute, 60.0), Pace(2, 1.0)),
            secrets={"api_key": key("FRED_API_KEY", "https://fredaccount.stlouisfed.org/apikeys")},
            secrets_in="query",  # it takes the key nowhere else
            pause=20.0,
            attempts=3,
        )

    def planned(self, wanted: Wanted) -> int:
        """Of what was not answered yet: the dates and a window of each series, and what it is; a long one has more."""
        known = set(wanted.tables.newest(SERIES.name)["series_id"])
        windows, vintages = wanted.tables.newest(WINDOWS.name), wanted.tables.newest(VINTAGES.name)
        count = 0
        for name in self._settings.series:
            dates = vintages.filter(series_id=name)["vintage"].to_list()
            dated = wanted.is_done("vintages", name)
            through, _ = _collected(windows.filter(series_id=name), dates)
            count += (name not in known and not wanted.is_done("series", name)) + (not dated)
            count += not (dated and through == max(dates, default=None))
        return count

    def questions(self, wanted: Wanted) -> Questions:
        """What a series is, its vintage dates, and their values in windows."""
        known = set(wanted.tables.newest(SERIES.name)["series_id"])
        windows, vintages = wanted.tables.newest(WINDOWS.name), wanted.tables.newest(VINTAGES.name)
        for name in self._settings.series:
            if name not in known and not wanted.is_done("series", name):
                answer = yield _question("series", name, "/series")
                if isinstance(answer, Refused):
                    continue
            dates = vintages.filter(series_id=name)["vintage"].to_list()
            through, begin = _collected(windows.filter(series_id=name), dates)
            if not wanted.is_done("vintages", name):
                dates = yield from _dates(name, begin)
            elif through == max(dates, default=None):
                continue
            yield from self._values(name, begin, [each for each in dates if each >= begin])

    def _values(self, name: str, begin: date, dates: list[date]) -> Questions:
        """The values of the vintages after `begin`, which is the first of them unless it is before them all."""
        size = self._settings.vintages_a_request
        while dates and dates != [begin]:
            window = dates[:size]
            answer = yield from _window(name, begin, window[-1])
            if isinstance(answer, Refused) and "vintage dates" in answer.why and size > _FEWEST:
                size = max(_FEWEST, size // 2)  # FRED counts otherwise, or has lowered its limit
            elif isinstance(answer, Rows):
                begin = window[-1]
                dates = dates[len(window) - 1 :]
            else:
                return

    def read(self, endpoint: str, subject: str, received: Received) -> Answer:
        """Rows of the endpoint; a refusal in FRED's words."""
        found = decoded(received)
        if isinstance(found, Broken):
            return found
        name = subject.split(" ")[0]
        try:
            if received.status != 200:
                return _refusal(received, str(field(found, "error_message", "message")))
            if endpoint == "series":
                frames = {SERIES.name: rows(field(found, "seriess"), SERIES, _SERIES_FIELDS)}
            elif endpoint == "vintages":
                given = [(name, date.fromisoformat(each)) for each in field(found, "vintage_dates")]
                frames = {VINTAGES.name: pl.DataFrame(given, schema=VINTAGES.schema, orient="row")}
            else:
                frames = _observations(name, found)
        except WRONG as error:
            return broken(error, received)
        return rows_of(frames, f"FRED has no {endpoint} of {subject}")


def _question(endpoint: str, subject: str, path: str, **parameters: Any) -> Question:
    """`subject` begins with the series."""
    name = subject.split(" ")[0]
    return Question(endpoint, subject, path, {"series_id": name, "file_type": "json", **parameters})


def _collected(windows: pl.DataFrame, vintages: Sequence[date]) -> tuple[date | None, date]:
    """Up to which vintage a series has been collected, and with which the next window begins.

    A vintage that was fetched on its own day may change until that is over: the next window begins before it.
    """
    whole = windows.group_by("first", "last").agg(
        pl.col("rows").sum() >= pl.col("count").max(), pl.col(FETCHED_AT).min()
    )
    whole = whole.filter("rows").sort("last", FETCHED_AT)
    if not len(whole):
        return None, _BEGINNING
    through, fetched_at = whole.select("last", FETCHED_AT).row(-1)
    on = fetched_at.astimezone(_THERE).date()
    over = [each for each in vintages if each <= through and each < on]
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
        given = answer.payload[VINTAGES.name]["vintage"].to_list()
        dates += given
        if len(given) < _MOST_DATES:
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
        given = answer.payload[WINDOWS.name].row(0, named=True)
        offset += given["rows"]
        if offset >= given["count"] or not given["rows"]:
            return answer


def _observations(name: str, found: Mapping[str, Any]) -> dict[str, pl.DataFrame]:
    """Values that begin in a window, and the window; nothing of a window without values."""
    first, last = (date.fromisoformat(field(found, each)) for each in ("realtime_start", "realtime_end"))
    given, count = field(found, "observations"), int(field(found, "count"))
    told = [
        (
            name,
            date.fromisoformat(field(row, "date")),
            date.fromisoformat(field(row, "realtime_start")),
            None if field(row, "value") == _WITHDRAWN else _figure(row["value"]),
        )
        for row in given
    ]
    window = (name, first, last, int(found.get("offset", 0)), len(told), count)
    return {
        # What begins with the window began before it: the window before has it.
        OBSERVATIONS.name: pl.DataFrame(
            [row for row in told if row[2] != first], schema=OBSERVATIONS.schema, orient="row"
        ),
        WINDOWS.name: pl.DataFrame([window] if told else [], schema=WINDOWS.schema, orient="row"),
    }


def _figure(value: Any) -> float:
    """A value that is there.

    Raises:
        ValueError: it is null, which FRED does not write.

    """
    found = number(value)
    if found is None:
        raise ValueError("a value is null")
    return found


def _refusal(received: Received, said: str) -> Answer:
    if received.status == 429:
        return Exhausted(said, received.fetched_at + timedelta(minutes=1))
    if "api_key" in said:
        remedy = "set FRED_API_KEY to the key of https://fredaccount.stlouisfed.org/apikeys"
        return Refused(said, remedy, "provider")
    if "series does not exist" in said:
        return Refused(said, "correct collecting.fred.series")
    if "vintage dates" in said:
        return Refused(said, "windows of half as many are asked for; lower collecting.fred.vintages_a_request")
    return Broken(f"status {received.status}: {said[:160]}")
