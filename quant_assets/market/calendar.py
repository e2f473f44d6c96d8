"""The XNYS trading calendar as plain dates; the only module that imports exchange_calendars."""

from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_assets.settings.domain import FIRST_DAY

#: Sessions per year, for annualised figures.
SESSIONS_PER_YEAR = 252


@lru_cache(maxsize=1)
def _calendar() -> Any:
    import exchange_calendars  # imported here because it loads pandas

    return exchange_calendars.get_calendar("XNYS", start=FIRST_DAY.isoformat())


@lru_cache(maxsize=1)
def _all_sessions() -> NDArray[np.datetime64]:
    days: NDArray[np.datetime64] = _calendar().sessions.values.astype("datetime64[D]")
    return days


def why_closed(day: date) -> str | None:
    """Why a day is not a session, in words; None if it is one.

    >>> why_closed(date(2024, 9, 2)), why_closed(date(2024, 9, 7)), why_closed(date(2024, 9, 3))
    ('Labor Day', 'a Saturday', None)
    """
    if day in sessions(day, day).tolist():
        return None
    if day.weekday() > 4:
        return f"a {day:%A}"
    names = _calendar().regular_holidays.holidays(day.isoformat(), day.isoformat(), return_name=True)
    return str(names.iloc[0]) if len(names) else "a day on which the exchange did not open"


def closes_early(day: date) -> bool:
    """Whether a day is a session that ends before 16:00 New York."""
    return bool((_calendar().early_closes.values.astype("datetime64[D]") == np.datetime64(day)).any())


def sessions(first: date, last: date) -> NDArray[np.datetime64]:
    """XNYS sessions from `first` to `last`, both included.

    Returns:
        datetime64[D] array of shape (n_sessions,), ascending.

    >>> sessions(date(2024, 7, 3), date(2024, 7, 8)).astype(str).tolist()
    ['2024-07-03', '2024-07-05', '2024-07-08']
    """
    days = _all_sessions()
    return days[np.searchsorted(days, np.datetime64(first)) : np.searchsorted(days, np.datetime64(last), side="right")]


def first_session_from(day: date) -> date:
    """The session on `day`, or the next one."""
    days = _all_sessions()
    session: date = days[np.searchsorted(days, np.datetime64(day))].item()
    return session


def last_session_to(day: date) -> date:
    """The session on `day`, or the one before; the calendar's first session if there is none before."""
    days = _all_sessions()
    session: date = days[max(0, int(np.searchsorted(days, np.datetime64(day), side="right")) - 1)].item()
    return session


def session_number(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Position of each session in the whole calendar, whatever range is computed."""
    return np.searchsorted(_all_sessions(), days)


def decision_sessions(first: date, last: date) -> list[date]:
    """The last session of each month from `first` to `last`; in the last month, the last one up to `last`."""
    by_month = {(session.year, session.month): session for session in sessions(first, last).tolist()}
    return list(by_month.values())


def closing_times(days: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """When sessions close, in UTC, early closes included.

    Args:
        days: sessions, datetime64[D] of shape (n_sessions,).

    Returns:
        datetime64[us] of the same shape.

    """
    closes = _calendar().closes
    times: NDArray[np.datetime64] = closes.dt.tz_convert(None).to_numpy().astype("datetime64[us]")
    return times[np.searchsorted(_all_sessions(), days)]
