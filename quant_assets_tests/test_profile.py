"""Which sessions and months a profile knows: weekends, holidays, the running month, and months that do not exist."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from quant_assets.errors import MissingPartitionError, SettingsError
from quant_assets.market.calendar import last_session_to, sessions
from quant_assets.partitions import RunPartitions, month_of
from quant_assets.profile import Profile
from quant_assets.schemas import DATASETS
from quant_assets.settings.loading import load_settings


def profile(as_of: date | None = None, **overrides: Any) -> Profile:
    return Profile(load_settings("demo", as_of=as_of, **overrides))


def months(*found: str) -> RunPartitions:
    return RunPartitions(("it",), found)


@pytest.mark.parametrize(
    ("as_of", "session"),
    [
        (date(2024, 6, 28), date(2024, 6, 28)),
        (date(2024, 6, 30), date(2024, 6, 28)),  # Sunday
        (date(2024, 3, 29), date(2024, 3, 28)),  # Good Friday
        (date(2024, 1, 1), date(2023, 12, 29)),  # New Year after a weekend
    ],
)
def test_a_pinned_day_means_the_session_on_it_or_the_one_before(as_of: date, session: date) -> None:
    assert profile(as_of).last_session() == session


def test_without_a_pin_the_clock_decides_and_a_pin_in_the_future_waits_for_it() -> None:
    now = datetime.now(UTC).date()
    found = profile().last_session()
    assert found in (
        last_session_to(now),
        last_session_to(now - timedelta(days=1)),
        last_session_to(now - timedelta(days=2)),
    )
    assert profile(now + timedelta(days=30)).last_session() == profile().last_session(), (
        "nothing is known that has not happened"
    )
    assert profile().last_month() == month_of(profile().last_session())


def test_the_newest_month_is_the_last_with_a_closed_session() -> None:
    assert profile(date(2024, 6, 3)).last_month() == "2024-06"
    assert profile(date(2024, 6, 2)).last_month() == "2024-05", "the first session of June is the third"
    assert profile(date(2024, 6, 28), partitions={"start": "2018-01", "end": "2020-05"}).last_month() == "2020-05"
    running = profile(partitions={"start": "2018-01", "end": "2999-12"})
    assert running.last_month() == profile().last_month()


def test_a_decision_is_taken_at_each_months_last_closed_session() -> None:
    found = profile(date(2024, 6, 12))
    assert found.decision_sessions(months("2024-04", "2024-05", "2024-06")) == [
        date(2024, 4, 30),
        date(2024, 5, 31),
        date(2024, 6, 12),
    ]
    assert found.decision_sessions(months("2024-03")) == [date(2024, 3, 28)]
    assert profile(date(2024, 6, 2)).decision_sessions(months("2024-06")) == [], "no session of June has closed"


def test_a_run_knows_no_more_than_its_months_and_the_last_session() -> None:
    found = profile(date(2024, 6, 12))
    assert found.through(months("2024-02", "2024-03")) == date(2024, 3, 28)
    assert found.through(months("2024-05", "2024-06")) == date(2024, 6, 12)


def test_a_partition_takes_account_of_its_month_and_of_what_it_looks_ahead_to() -> None:
    found = profile(date(2024, 6, 12))
    assert found.known_through("2024-03") == date(2024, 3, 28)
    assert found.known_through("2024-06") == date(2024, 6, 12)
    assert found.known_through("2024-03", 2) == date(2024, 5, 31)
    assert found.known_through("2024-03", 4) == date(2024, 6, 12), "it has not matured"
    assert found.known_through("2024-06") in sessions(date(2024, 6, 1), date(2024, 6, 30)).tolist()


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (
            "2017-12",
            "2018-03",
            r"month 2017-12 is outside the range of profile 'demo', 2018-01 to 2024-05; .*conf/profiles/demo.yaml",
        ),
        ("2024-01", "2024-07", "month 2024-07 has no closed session at as_of 2024-06-02; .*QUANT__AS_OF"),
        ("2024-01", "2024-06", "month 2024-06 has no closed session"),
        ("2024-07", "2024-05", "month 2024-07 has no closed session at as_of 2024-06-02; .*QUANT__AS_OF"),
        (
            "2024-03",
            "2024-02",
            "the first month 2024-03 is later than the last month 2024-02; swap --from and --to",
        ),
    ],
)
def test_months_that_cannot_be_run_are_refused(first: str, last: str, message: str) -> None:
    found = profile(date(2024, 6, 2))  # a Sunday: June has no closed session
    with pytest.raises(SettingsError, match=message):
        found.check_months(first, last)
    found.check_months("2018-01", "2024-05")


def test_a_month_that_is_still_to_come_names_the_newest() -> None:
    found = Profile(load_settings("demo"))
    message = rf"month 2090-01 has no closed session yet; the newest month is {found.last_month()}, choose it or an"
    with pytest.raises(SettingsError, match=message):
        found.check_months("2024-01", "2090-01")


def test_an_error_about_missing_partitions_names_the_profiles_own_command() -> None:
    store = Profile(load_settings("files", storage="/nowhere")).store
    with pytest.raises(
        MissingPartitionError,
        match=r"in /nowhere/files: .*quant run --profile files --sector it --from 2016-01 --to 2016-01",
    ):
        store.read(DATASETS["prices"], ["2016-01|it"])
