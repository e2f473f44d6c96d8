from datetime import date

import numpy as np

from quant_assets.market import calendar


def test_sessions_leave_out_weekends_and_holidays() -> None:
    days = calendar.sessions(date(2024, 3, 27), date(2024, 4, 2))
    assert days.tolist() == [date(2024, 3, 27), date(2024, 3, 28), date(2024, 4, 1), date(2024, 4, 2)]  # Good Friday
    assert days.dtype == np.dtype("datetime64[D]")
    assert len(calendar.sessions(date(2001, 9, 1), date(2001, 9, 30))) == 15  # four days closed after the 10th
    assert len(calendar.sessions(date(2024, 3, 30), date(2024, 3, 31))) == 0


def test_nearest_sessions() -> None:
    assert calendar.first_session_from(date(2016, 12, 31)) == date(2017, 1, 3)
    assert calendar.first_session_from(date(2017, 1, 3)) == date(2017, 1, 3)
    assert calendar.last_session_to(date(2017, 1, 2)) == date(2016, 12, 30)
    assert calendar.last_session_to(date(2017, 1, 3)) == date(2017, 1, 3)
    assert calendar.last_session_to(date(1985, 1, 1)) == date(1990, 1, 2), "not the last of all"


def test_session_number_does_not_depend_on_the_range() -> None:
    long, short = (
        calendar.sessions(date(2010, 1, 1), date(2020, 1, 1)),
        calendar.sessions(date(2015, 6, 1), date(2015, 7, 1)),
    )
    numbers = dict(zip(long.tolist(), calendar.session_number(long).tolist(), strict=True))
    assert [numbers[day] for day in short.tolist()] == calendar.session_number(short).tolist()
    assert np.all(np.diff(calendar.session_number(long)) == 1)
