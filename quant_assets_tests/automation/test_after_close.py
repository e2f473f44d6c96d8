"""The schedules after the close and before the open: what they ask for, and the reason where they ask for nothing."""

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl
import pytest

from quant_assets.assets.live import DAILY_ORDERS, DECISIONS, IN_TIME
from quant_assets.automation.after_close import AFTER_CLOSE, BEFORE_OPEN, NEW_YORK, live_automation, record_missed
from quant_assets.automation.status import default_status
from quant_assets.market.calendar import closes_early, why_closed
from quant_assets.partitions import key
from quant_assets.profile import Profile
from quant_assets.running.sessions import SESSION, SESSIONS
from quant_assets.running.work import ORIGIN
from quant_assets_tests.synthetic_live import DAYS, GO_LIVE, SECTORS, live_settings

AS_OF = DAYS[3]


class Ticks:
    """The schedules of a profile at a day, over its storage and an instance of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance) -> None:
        self.folder, self.monkeypatch, self.instance = folder, monkeypatch, instance
        self.orders = False
        self.at(AS_OF)
        monkeypatch.setenv("QUANT__STORAGE", str(folder))
        monkeypatch.setenv("QUANT__LIVE__GO_LIVE", str(GO_LIVE))
        monkeypatch.setenv("QUANT__LIVE__SECTORS", '["healthcare", "it"]')

    def at(self, as_of: date) -> None:
        """The clock, through the settings."""
        self.as_of = as_of
        self.monkeypatch.setenv("QUANT__AS_OF", str(as_of))

    @property
    def profile(self) -> Profile:
        return Profile(live_settings(self.folder, self.as_of, live={"orders": self.orders}))

    def said(self, *days: date, sectors: tuple[str, ...] = SECTORS, name: str = DECISIONS) -> None:
        """Entries of the ledger that say nothing: that they are there is what counts."""
        dataset = self.profile.every_dataset[name]
        keys = [key(sector, str(day)) for sector in sectors for day in days]
        self.profile.store.write(dataset, dataset.empty(), keys, lambda _: self.as_of)

    def tick(self, name: str, day: date, hour: int = 17) -> dg.RunRequest | str:
        """What a schedule gives at a day: a request, or the reason why there is none."""
        made = live_automation(self.profile)
        schedule = next(each for each in made.schedules or () if each.name == name)
        at = datetime(day.year, day.month, day.day, hour, 30, tzinfo=ZoneInfo(NEW_YORK))
        context = dg.build_schedule_context(instance=self.instance, scheduled_execution_time=at)
        result = schedule.evaluate_tick(context)  # type: ignore[union-attr]
        return result.run_requests[0] if result.run_requests else str(result.skip_message)


@pytest.fixture
def ticks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ticks]:
    with dg.instance_for_test() as instance:  # one in memory alone is not handed to a schedule
        yield Ticks(tmp_path, monkeypatch, instance)


def asked(request: dg.RunRequest | str) -> list[str]:
    assert isinstance(request, dg.RunRequest), request
    found: list[str] = request.run_config["ops"]["carry_out"]["config"]["sessions"]
    return found


@pytest.mark.slow
def test_what_was_missed_is_one_run_in_order_and_never_asked_for_twice(ticks: Ticks) -> None:
    ticks.said(*DAYS[:2])
    request = ticks.tick(AFTER_CLOSE, DAYS[3])
    assert asked(request) == [str(DAYS[2]), str(DAYS[3])]
    assert isinstance(request, dg.RunRequest)
    assert request.run_key is None
    assert request.tags[ORIGIN] == "after_close"
    assert (request.tags[SESSION], request.tags[SESSIONS]) == (str(DAYS[3]), f"{DAYS[2]} to {DAYS[3]}")
    assert request.tags["quant/reasons"] == f"{DAYS[3]}: 2 sessions to say of 2 sectors, 1 of them missed"

    run = ticks.instance.create_run_for_job(
        next(iter(live_automation(ticks.profile).jobs or ())),  # type: ignore[arg-type]
        tags=request.tags,
        run_config=request.run_config,
        status=dg.DagsterRunStatus.STARTED,
    )
    reason = ticks.tick(AFTER_CLOSE, DAYS[3])
    assert reason == (f"{DAYS[3]}: run {run.run_id} over {DAYS[2]} to {DAYS[3]} is started; nothing is asked twice")
    ticks.instance.report_run_failed(run, "killed")
    assert asked(ticks.tick("before_open", date(2024, 7, 2), 8)) == [str(DAYS[2]), str(DAYS[3])]
    ticks.said(*DAYS[2:4])
    assert ticks.tick(AFTER_CLOSE, DAYS[3]) == f"the decisions up to {DAYS[3]} are recorded"


@pytest.mark.slow
def test_days_without_a_session_are_told_with_the_reason(ticks: Ticks) -> None:
    ticks.at(DAYS[5])
    ticks.said(*DAYS)
    assert ticks.tick(AFTER_CLOSE, date(2024, 7, 4)) == (
        f"2024-07-04 is no session: July 4th; the decisions up to {DAYS[5]} are recorded"
    )
    assert ticks.tick(AFTER_CLOSE, date(2024, 7, 5)) == (
        f"the last closed session is {DAYS[5]} (as_of pins it to {DAYS[5]}); the decisions up to it are recorded"
    )
    assert ticks.tick("before_open", date(2024, 7, 4), 8) != ""


@pytest.mark.slow
def test_a_half_day_is_a_session_and_is_told(ticks: Ticks) -> None:
    ticks.at(DAYS[5])
    ticks.said(*DAYS[:5])
    request = ticks.tick(AFTER_CLOSE, DAYS[5])
    assert asked(request) == [str(DAYS[5])]
    assert isinstance(request, dg.RunRequest)
    assert request.tags["quant/reasons"] == f"{DAYS[5]}, a half day: 1 session to say of 2 sectors"


@pytest.mark.slow
def test_before_the_open_it_says_which_sectors_said_nothing(ticks: Ticks) -> None:
    ticks.said(*DAYS[:4], sectors=("it",))
    ticks.said(*DAYS[:3], sectors=("healthcare",))
    request = ticks.tick("before_open", date(2024, 7, 2), 8)
    assert asked(request) == [str(DAYS[3])]
    assert isinstance(request, dg.RunRequest)
    assert request.run_config["ops"]["carry_out"]["config"]["missed"] == {str(DAYS[3]): ["healthcare"]}
    assert request.tags[ORIGIN] == "before_open"


@pytest.mark.slow
def test_orders_that_failed_after_their_decisions_are_asked_for_again(
    ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT__LIVE__ORDERS", "true")
    ticks.orders = True
    ticks.said(*DAYS[:4])
    ticks.said(*DAYS[:4], sectors=("it",), name=DAILY_ORDERS)
    ticks.said(DAYS[0], DAYS[1], sectors=("healthcare",), name=DAILY_ORDERS)
    for schedule, day in ((AFTER_CLOSE, DAYS[3]), (BEFORE_OPEN, DAYS[4])):
        request = ticks.tick(schedule, day)
        assert asked(request) == [str(DAYS[2]), str(DAYS[3])]
        assert isinstance(request, dg.RunRequest)
        assert "2 sessions to say of 1 sectors" in request.tags["quant/reasons"]
        # The decisions were made in time.
        assert request.run_config["ops"]["carry_out"]["config"]["missed"] == {}
    # A file describes the present, so that no orders of earlier sessions follow from it.
    monkeypatch.setenv("QUANT__LIVE__HOLDINGS", "{sector}.csv")
    assert asked(ticks.tick(AFTER_CLOSE, DAYS[3])) == [str(DAYS[3])]
    ticks.said(DAYS[3], sectors=("healthcare",), name=DAILY_ORDERS)
    assert ticks.tick(AFTER_CLOSE, DAYS[3]) == f"the decisions up to {DAYS[3]} are recorded"


def test_what_was_missed_is_a_failed_check_of_its_partition() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):  # a second run that finds it missing
            record_missed(instance, "2024-07-01", ["healthcare"])
        check = dg.AssetCheckKey(dg.AssetKey(DECISIONS), IN_TIME)
        record = instance.get_latest_asset_check_evaluation_record(check)
    event = record.event.dagster_event if record is not None and record.event is not None else None
    assert event is not None
    found = event.asset_check_evaluation_data
    assert (found.passed, found.metadata["partition"].value) == (False, "2024-07-01|healthcare")
    assert found.description == "healthcare: no decision of 2024-07-01 was recorded before the next session opened"


@pytest.mark.slow
def test_a_long_gap_is_caught_up_piece_by_piece(ticks: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT__LIVE__LONGEST_GAP", "2")
    request = ticks.tick(AFTER_CLOSE, DAYS[3])
    assert asked(request) == [str(DAYS[0]), str(DAYS[1])]
    assert isinstance(request, dg.RunRequest)
    assert "2 more follow" in request.tags["quant/reasons"]


@pytest.mark.parametrize(
    ("day", "why"),
    [
        (date(2026, 11, 26), "Thanksgiving"),
        (date(2026, 11, 28), "a Saturday"),
        (date(2025, 1, 9), "a day on which the exchange did not open"),  # President Carter's funeral
        (date(2026, 11, 27), None),
    ],
)
def test_why_the_exchange_is_closed(day: date, why: str | None) -> None:
    assert why_closed(day) == why
    assert closes_early(day) == (day == date(2026, 11, 27))


def test_schedules_are_on_for_the_demo_alone(tmp_path: Path) -> None:
    demo = Profile(live_settings(tmp_path))
    assert default_status(demo.settings, dg.DefaultScheduleStatus) == dg.DefaultScheduleStatus.RUNNING
    own = Profile(demo.settings.model_copy(update={"profile": "files"}))
    assert default_status(own.settings, dg.DefaultScheduleStatus) == dg.DefaultScheduleStatus.STOPPED
    without = Profile(live_settings(tmp_path, live={"go_live": None}))
    assert not live_automation(without).schedules
    assert pl.Series([each.name for each in live_automation(demo).schedules or ()]).to_list() == [
        "after_close",
        "before_open",
    ]
