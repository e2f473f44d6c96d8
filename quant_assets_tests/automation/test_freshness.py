"""Freshness by sector and closed session, and that it is said once."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.automation.freshness import (
    CHECK,
    Freshness,
    evaluated,
    freshness_checks,
    freshness_of,
    freshness_sensor,
    watched,
)
from quant_assets.errors import SettingsError
from quant_assets.graph import build_defs
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings

#: The Friday before Thanksgiving's week: Thursday 28 has no session, Friday 29 is a half day.
FRIDAY = date(2024, 11, 22)


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    for name, value in {
        "QUANT__STORAGE": str(tmp_path),
        "QUANT__AS_OF": "2024-12-02",
        "QUANT__FRESHNESS__ASSETS": '["ohlcv", "weights"]',
        "QUANT__FRESHNESS__LATE_SESSIONS": "1",
        "QUANT_PROFILE": "demo",
    }.items():
        monkeypatch.setenv(name, value)
    return Profile(load_settings())


def write(profile: Profile, name: str, keys: Sequence[str], known: date) -> None:
    dataset = profile.datasets[name]
    profile.store.write(dataset, dataset.empty(), keys, lambda _: known)


def test_sessions_count_and_not_days(profile: Profile) -> None:
    write(profile, "ohlcv", ["2024-12|energy"], date(2024, 12, 2))
    write(profile, "ohlcv", ["2024-10|it", "2024-11|it"], date(2024, 11, 29))  # the half day, a weekend ago
    write(profile, "ohlcv", ["2024-11|re"], FRIDAY)
    write(profile, "weights", ["2024-11|it"], date(2024, 11, 27))  # the eve of the holiday
    found = [(each.asset, each.partition_key, each.lacking, each.late) for each in freshness_of(profile)]
    assert found == [
        ("ohlcv", "2024-12|energy", 0, False),
        ("ohlcv", "2024-11|it", 1, False),
        ("ohlcv", "2024-11|re", 5, True),
        ("weights", "2024-11|it", 2, True),
    ]


def test_a_sector_that_is_not_in_use_is_not_late(profile: Profile) -> None:
    write(profile, "ohlcv", ["2020-11|re"], date(2020, 11, 30))
    assert freshness_of(profile) == []
    assert isinstance(evaluated([], date(2024, 12, 2), None), dg.SkipReason)


def test_an_asset_that_cannot_be_watched_is_named(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("none", "macro"):
        monkeypatch.setenv("QUANT__FRESHNESS__ASSETS", json.dumps([name]))
        with pytest.raises(SettingsError, match=rf"^freshness.assets names '{name}', .*; choose among universe, "):
            watched(Profile(load_settings()))


def partition(event: object) -> object:
    assert isinstance(event, dg.AssetCheckEvaluation)
    return event.metadata["partition"].value


def one(sector: str, lacking: int) -> Freshness:
    return Freshness("ohlcv", sector, f"2024-12|{sector}", date(2024, 12, 2), lacking, lacking > 1)


def test_each_state_is_said_once_a_session_and_when_it_changes() -> None:
    monday, tuesday = date(2024, 12, 2), date(2024, 12, 3)
    first = evaluated([one("energy", 0), one("it", 2)], monday, None)
    assert isinstance(first, dg.SensorResult)
    said = [(partition(each), each.passed, each.severity) for each in first.asset_events]
    assert said == [
        ("2024-12|energy", True, dg.AssetCheckSeverity.WARN),
        ("2024-12|it", False, dg.AssetCheckSeverity.WARN),
    ]
    again = evaluated([one("energy", 0), one("it", 3)], monday, first.cursor)
    assert isinstance(again, dg.SkipReason)
    assert again.skip_message.startswith(
        "reported already for 2024-12-02: it knows until 2024-12-02: 3 closed sessions"
    )
    mended = evaluated([one("energy", 0), one("it", 0)], monday, first.cursor)
    assert isinstance(mended, dg.SensorResult)
    assert [(partition(each), each.passed) for each in mended.asset_events] == [("2024-12|it", True)]
    following = evaluated([one("energy", 1), one("it", 1)], tuesday, mended.cursor)
    assert isinstance(following, dg.SensorResult)
    assert [each.passed for each in following.asset_events] == [True, True]
    for wrong in ("{", "[1]"):
        assert isinstance(evaluated([one("energy", 0)], monday, wrong), dg.SensorResult)


@pytest.mark.slow
def test_the_sensor_evaluates_the_check_of_the_asset(profile: Profile) -> None:
    write(profile, "ohlcv", ["2024-12|energy"], date(2024, 12, 2))
    write(profile, "ohlcv", ["2024-11|re"], FRIDAY)
    sensor, checks = freshness_sensor(profile), freshness_checks(profile)
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    defs = dg.Definitions.merge(build_defs(profile), dg.Definitions(sensors=[sensor], asset_checks=checks))
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, definitions=defs, sensor_name="freshness")
        tick = sensor.evaluate_tick(context)
        assert [partition(each) for each in tick.asset_events] == ["2024-12|energy", "2024-11|re"]
        for each in [*tick.asset_events, *tick.asset_events]:  # the same partitions at the next session
            instance.report_runless_asset_event(each)
        key = dg.AssetCheckKey(dg.AssetKey("ohlcv"), CHECK)
        page = instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
        states = [each.status.value for each in page]
        assert states == ["FAILED", "SUCCEEDED"] * 2, "the late ones last: they are what the asset's page shows"
        context = dg.build_sensor_context(
            instance=instance, definitions=defs, sensor_name="freshness", cursor=tick.cursor
        )
        assert sensor.evaluate_tick(context).asset_events == []
        result = (
            defs.resolve_implicit_global_asset_job_def()
            .get_subset(asset_selection=set(), asset_check_selection={key})
            .execute_in_process(instance=instance)
        )
        (evaluation,) = result.get_asset_check_evaluations()
        assert not evaluation.passed
        assert evaluation.description == "re knows until 2024-11-22: 5 closed sessions are missing"
