"""Dates in texts and time stamps of files: the format of a column, and the days of its values.

The day of a time stamp is a session of the exchange. Without a zone in the settings, midnight means its own day,
whatever its zone, and other times mean the day in New York. For bars, only the usual times are accepted: the open, the
close, the last minute of the day. Other times are ambiguous: midnight in Berlin is the evening before in New York,
midnight in Tokyo its morning, so that a bar would be known a day before its close.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

EXCHANGE = "America/New_York"

#: Times of day, in New York, at which daily bars are stamped.
_STAMPED = {time(0), time(9, 30), time(13), time(13, 15), time(16), time(16, 15)}
#: The same in UTC, for stamps without a zone: midnight, open and close in New York.
_STAMPED_UTC = {time(4), time(5), time(13, 30), time(14, 30), time(18), time(20), time(21)}

_MONTHS = {
    name: number
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)  # noqa: SIM905
}
_TIME = (
    r"(?:[T ,]+(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,]\d+)?)?\s*(?P<half>[AaPp]\.?[Mm]\.?)?"
    r"\s*(?P<offset>Z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?(?:\[[\w/]+\])?)?"
)
_FORMS = {
    "iso": re.compile(r"(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})" + _TIME),
    "yyyymmdd": re.compile(r"(?P<y>(?:18|19|20)\d{2})(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?:\.0)?" + _TIME),
    "parts": re.compile(r"(?P<a>\d{1,2})[-/.](?P<b>\d{1,2})[-/.](?P<y>\d{4}|\d{2})" + _TIME),
    "month_name": re.compile(
        r"(?:[A-Za-z]{3,9},? )?(?:(?P<d>\d{1,2})[-/ .]+)?(?P<name>[A-Za-z]{3,9})\.?[-/ ,]+"
        r"(?:(?P<d2>\d{1,2})(?:st|nd|rd|th)?[-/ ,]+)?(?P<y>\d{4}|\d{2})" + _TIME
    ),
    "month": re.compile(r"(?P<y>\d{4})[-/](?P<m>\d{1,2})"),
    "quarter": re.compile(r"(?P<y>\d{4})[-/ ]?[Qq](?P<q>[1-4])"),
    "epoch": re.compile(r"-?(?P<epoch>\d{9,19})(?:\.0+)?"),
}


class Stamp(NamedTuple):
    """A time stamp of a file: its local time, and its offset from UTC (None if not given)."""

    wall: datetime
    offset: timedelta | None


class Days(NamedTuple):
    """The days of a column's values.

    Attributes:
        days: by distinct value; None if it is not a date.
        form: format of the column, for people.
        undecided: values whose day and month cannot be distinguished.
        ambiguous: values whose day depends on the zone.
        strange: dates that are written in another form than most, so that none of them is read.

    """

    days: Mapping[str, date | None]
    form: str
    undecided: list[str]
    ambiguous: list[str]
    strange: tuple[str, ...] = ()


def read_days(values: Iterable[str], form: str | None, zone: str | None, *, sessions: bool, ends: bool = False) -> Days:
    """The days of distinct texts.

    Args:
        values: distinct, without null words.
        form: of `settings.formats.Reading.dates`; None to detect it.
        zone: of `Reading.zone`.
        sessions: whether they are days of bars.
        ends: whether a month or quarter means its last day; else its first.

    """
    texts = [*values]
    if form is not None and "%" in form:
        stamps = {text: _by_pattern(text, form) for text in texts}
        return _days(stamps, f"dates {form}", zone, sessions=sessions)._replace(strange=_dates(stamps))
    allowed = None if form is None else "parts" if form in ("day_first", "month_first") else form
    matched = {text: _match(text, allowed) for text in texts}
    forms = Counter(name for name, _ in filter(None, matched.values()))
    if not forms:
        return Days(dict.fromkeys(texts), "no dates", [], [])
    most = forms.most_common(1)[0][0]
    of_form = {text: found[1] if found and found[0] == most else None for text, found in matched.items()}
    day_first = form == "day_first"
    undecided: list[str] = []
    if most == "parts" and form not in ("day_first", "month_first"):
        firsts, seconds = ({int(match[name]) for match in of_form.values() if match} for name in ("a", "b"))
        day_first = max(firsts) > 12
        if max(firsts) <= 12 and max(seconds) <= 12:
            undecided = [text for text, match in of_form.items() if match and match["a"] != match["b"]]
    stamps = {text: _stamp(most, match, day_first=day_first) if match else None for text, match in of_form.items()}
    if ends and most in ("month", "quarter"):
        stamps = {text: _last(stamp, 1 if most == "month" else 3) for text, stamp in stamps.items()}
    shown = ("dates day first" if day_first else "dates month first") if most == "parts" else f"dates {most}"
    if undecided:
        return Days({}, shown, undecided, [])
    return _days(stamps, shown, zone, sessions=sessions)._replace(strange=_dates(stamps))


def _dates(stamps: Mapping[str, Stamp | None]) -> tuple[str, ...]:
    """The texts that were not read though they are dates, in another form or with day and month the other way round."""
    unread = [(text, _match(text, None)) for text, stamp in stamps.items() if stamp is None]
    ways = (True, False)
    return tuple(
        text
        for text, found in unread
        if found and any(_stamp(found[0], found[1], day_first=day_first) for day_first in ways)
    )


def days_of_stamps(stamps: Mapping[str, Stamp], zone: str | None, *, sessions: bool) -> Days:
    """The days of named time stamps; see `read_days`."""
    return _days(stamps, "time stamps", zone, sessions=sessions)


def _days(stamps: Mapping[str, Stamp | None], form: str, zone: str | None, *, sessions: bool) -> Days:
    days: dict[str, date | None] = {}
    odd, timed = [], False
    for text, stamp in stamps.items():
        if stamp is None:
            days[text] = None
            continue
        day, sure = _day(stamp, zone)
        days[text] = day
        timed = timed or stamp.wall.time() != time(0)
        if not sure:
            odd.append(text)
    # Midnights of another zone turn Mondays into Sundays, on which there are no bars.
    if sessions and timed and zone is None:
        odd += [text for text, day in days.items() if day and day.weekday() > 4 and text not in odd]
    return Days(days, form, [], odd if sessions else [])


def _day(stamp: Stamp, zone: str | None) -> tuple[date, bool]:
    """The day of a stamp, and whether it is unambiguous."""
    clock = stamp.wall.time()
    if zone is not None and (stamp.offset is not None or clock != time(0)):
        moment = (stamp.wall - (stamp.offset or timedelta())).replace(tzinfo=UTC)
        return moment.astimezone(ZoneInfo(zone)).date(), True
    if clock == time(0) or (clock.hour == 23 and clock.minute == 59):
        return stamp.wall.date(), True
    if stamp.offset is None:
        return stamp.wall.date(), clock in _STAMPED | _STAMPED_UTC
    there = (stamp.wall - stamp.offset).replace(tzinfo=UTC).astimezone(ZoneInfo(EXCHANGE))
    return there.date(), there.time() in _STAMPED or (there.hour == 23 and there.minute == 59)


def _match(text: str, allowed: str | None) -> tuple[str, re.Match[str]] | None:
    for name, form in _FORMS.items():
        if allowed in (None, name):
            match = form.fullmatch(text.strip())
            if match:
                return name, match
    return None


def _stamp(form: str, match: re.Match[str], *, day_first: bool) -> Stamp | None:
    parts = match.groupdict()
    try:
        if form == "epoch":
            # Seconds with 9 or 10 digits, milliseconds with three more, and so on.
            micros = int(match[0].partition(".")[0]) * 10**6 // 1000 ** ((len(parts["epoch"]) - 8) // 3)
            return Stamp(datetime(1970, 1, 1) + timedelta(microseconds=micros), timedelta())  # noqa: DTZ001
        year = int(parts["y"])
        if len(parts["y"]) == 2:
            year += 2000 if year < 69 else 1900
        month, day = int(parts.get("m") or 1), int(parts.get("d") or 1)
        if form == "parts":
            first, second = int(parts["a"]), int(parts["b"])
            day, month = (first, second) if day_first else (second, first)
        elif form == "month_name":
            month, day = _MONTHS[parts["name"][:3].lower()], int(parts["d"] or parts["d2"] or 1)
        elif form == "quarter":
            month = 3 * int(parts["q"]) - 2
        hour = int(parts.get("H") or 0)
        if parts.get("half"):
            hour = hour % 12 + (12 if parts["half"][0] in "pP" else 0)
        wall = datetime(year, month, day, hour, int(parts.get("M") or 0), int(parts.get("S") or 0))  # noqa: DTZ001
    except (ValueError, KeyError, OverflowError):
        return None
    return Stamp(wall, _offset(parts.get("offset")))


def _last(stamp: Stamp | None, months: int) -> Stamp | None:
    """The last day of a number of months that begin with a stamp."""
    if stamp is None:
        return None
    after = stamp.wall.year * 12 + stamp.wall.month - 1 + months
    return Stamp(datetime(after // 12, after % 12 + 1, 1) - timedelta(days=1), None)  # noqa: DTZ001


def _by_pattern(text: str, pattern: str) -> Stamp | None:
    try:
        found = datetime.strptime(text.strip(), pattern)  # noqa: DTZ007
    except ValueError:
        return None
    return Stamp(found.replace(tzinfo=None), found.utcoffset())


def _offset(text: str | None) -> timedelta | None:
    if text is None:
        return None
    if text[0] not in "+-":
        return timedelta()
    hours, minutes = int(text[1:3]), int(text[-2:]) if len(text) > 3 else 0
    return timedelta(hours=hours, minutes=minutes) * (-1 if text[0] == "-" else 1)
