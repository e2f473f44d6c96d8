"""What real instances list, in SQLite and in the embedded PostgreSQL, against a real storage, and both mended."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.dagster_internals import DATA_VERSION_TAG
from quant_assets.io.manager import data_version
from quant_assets.partitions import month_range
from quant_assets.planning.plan import Phase
from quant_assets.profile import Profile
from quant_assets.running.execute import execute
from quant_assets.running.instance import dagster_home, existing_instance, initialise_instance
from quant_assets.running.postgres import _HELD, _is_free, serve
from quant_assets.running.reconciliation import Difference, differences, forget, report
from quant_assets.settings.loading import load_settings
from quant_assets.settings.sectors import SECTORS

MONTHS = ("2024-05", "2024-06")
FUNDAMENTALS = dg.AssetKey("fundamentals")


@pytest.fixture(params=["sqlite", "postgres"])
def profile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Profile]:
    """Storage and instance in a folder that root's server may enter, which pytest's own folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="quant-"))
    folder.chmod(0o711)
    for name, value in {
        "QUANT__STORAGE": str(folder / "storage"),
        "QUANT__DAGSTER__STORAGE": request.param,
        "QUANT__AS_OF": "2024-06-28",
        "QUANT__PARTITIONS__START": MONTHS[0],
        "QUANT_PROFILE": "demo",
        "DAGSTER_HOME": str(folder / "home"),
    }.items():
        monkeypatch.setenv(name, value)
    dagster_home("demo")
    initialise_instance()
    yield Profile(load_settings("demo"))
    if request.param == "postgres":  # this process lets go of the server, which then ends
        serve.cache_clear()
        _HELD.pop().close()
        deadline = time.monotonic() + 120
        while not _is_free(folder / "home" / "postgres" / "keeper.lock"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    shutil.rmtree(folder)


def run(*sectors: str) -> None:
    execute([[Phase(("fundamentals",), *MONTHS, sectors)]], load_settings("demo"), 1, lambda *_: None)


def keys(*sectors: str) -> list[str]:
    return [f"{month}|{sector}" for sector in sectors for month in MONTHS]


def found(profile: Profile, instance: dg.DagsterInstance | None, *sectors: str) -> list[Difference]:
    stored = {name: profile.store.existing(dataset) for name, dataset in profile.every_dataset.items()}
    return list(differences(instance, stored, profile.every_dataset, sectors or SECTORS))


def remove(profile: Profile, *partition_keys: str) -> None:
    for key in partition_keys:
        Path(profile.store.path(profile.datasets["fundamentals"], key)).unlink()


@pytest.mark.slow
def test_what_is_stored_and_what_is_listed_are_told_apart_and_either_is_mended(profile: Profile) -> None:
    fundamentals, macro = profile.datasets["fundamentals"], profile.datasets["macro"]
    run("it", "telecoms")
    with existing_instance(profile.settings) as instance:
        assert instance is not None
        assert found(profile, instance) == []
        (run_before,) = instance.get_runs()
        logs_before = len(instance.all_logs(run_before.run_id))
        remove(profile, *keys("telecoms"), "2024-05|it")
        profile.store.write(fundamentals, fundamentals.empty(), keys("energy"))
        profile.store.write(macro, macro.empty(), ["2024-06"], lambda _: profile.last_session())
        one, other = found(profile, instance)
        assert one == Difference(fundamentals, keys("energy"), ["2024-05|it", *keys("telecoms")])
        assert other == Difference(macro, ["2024-06"], [])
        assert found(profile, instance, "energy")[0] == Difference(fundamentals, keys("energy"), [])
        assert found(profile, None, "it") == [
            Difference(fundamentals, ["2024-06|it"], []),
            Difference(macro, ["2024-06"], []),
        ]

        report(instance, profile.store, [one, other])
        assert found(profile, instance) == [Difference(fundamentals, [], one.missing)]
        forget(instance, [one])
        assert found(profile, instance) == []
        assert instance.get_materialized_partitions(FUNDAMENTALS) == {*keys("energy"), "2024-06|it"}
        assert len(instance.all_logs(run_before.run_id)) == logs_before, "the history of runs stays"

        remove(profile, "2024-06|it")
        forget(instance, found(profile, instance))
        assert instance.get_materialized_partitions(FUNDAMENTALS) == set(keys("energy"))
    run("it")
    with existing_instance(profile.settings) as instance:
        assert instance is not None
        assert found(profile, instance) == [], "what was forgotten is known again after a run"


@pytest.mark.slow
def test_what_is_reported_has_the_version_dimensions_and_time_that_a_run_would_give(profile: Profile) -> None:
    fundamentals = profile.datasets["fundamentals"]
    run("it")
    with existing_instance(profile.settings) as instance:
        assert instance is not None
        profile.store.write(fundamentals, fundamentals.empty(), keys("energy"), lambda _: profile.last_session())
        (by_run,) = (
            record.asset_materialization
            for record in instance.fetch_materializations(
                dg.AssetRecordsFilter(FUNDAMENTALS, asset_partitions=["2024-06|it"]), limit=9
            ).records
        )
        assert by_run is not None
        before = time.time()
        report(instance, profile.store, found(profile, instance))
        for key in keys("energy"):
            (record,) = instance.fetch_materializations(
                dg.AssetRecordsFilter(FUNDAMENTALS, asset_partitions=[key]), limit=9
            ).records
            event = record.asset_materialization
            assert event is not None
            month, _, sector = key.partition("|")
            content = profile.store.recorded(fundamentals, key).content
            assert event.tags == {
                DATA_VERSION_TAG: data_version({key: content}),
                "dagster/partition/month": month,
                "dagster/partition/sector": sector,
            }
            assert event.tags.keys() <= by_run.tags.keys()
            assert event.metadata["known_through"].value == "2024-06-28"
            assert before <= record.timestamp <= time.time()
        latest = instance.get_latest_materialization_event(FUNDAMENTALS)
        assert latest is not None
        assert latest.dagster_event is not None
        assert latest.dagster_event.partition in keys("energy")
        energy = instance.get_event_tags_for_asset(FUNDAMENTALS, {"dagster/partition/sector": "energy"})
        assert {each["dagster/partition/month"] for each in energy} == set(MONTHS)


@pytest.mark.slow
def test_the_web_ui_draws_what_is_left(profile: Profile) -> None:
    """Dagster keeps a summary of an asset's partitions, which it brings up to date with newer events only."""
    from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

    by_sector = profile.months.by_sector

    def drawn(instance: dg.DagsterInstance) -> set[str]:
        value = get_and_update_asset_status_cache_value(instance, FUNDAMENTALS, by_sector)
        assert value is not None
        assert not value.deserialize_failed_partition_subsets(by_sector).get_partition_keys()
        return {str(key) for key in value.deserialize_materialized_partition_subsets(by_sector).get_partition_keys()}

    run("it", "telecoms")
    fundamentals = profile.datasets["fundamentals"]
    with existing_instance(profile.settings) as instance:
        assert instance is not None
        assert drawn(instance) == set(keys("it", "telecoms"))
        remove(profile, *keys("telecoms"))
        forget(instance, found(profile, instance))
        assert drawn(instance) == set(keys("it"))
        profile.store.write(fundamentals, fundamentals.empty(), keys("energy"))
        report(instance, profile.store, found(profile, instance))
        assert drawn(instance) == set(keys("energy", "it"))


@pytest.mark.slow
def test_many_partitions_take_little(profile: Profile) -> None:
    """More than go into one statement; one at a time they would take minutes."""
    fundamentals = profile.datasets["fundamentals"]
    many = [f"{month}|{sector}" for sector in SECTORS for month in month_range("2004-01", "2023-12")]
    with existing_instance(profile.settings) as instance:
        assert instance is not None
        begin = Path(profile.store.path(fundamentals, many[0]))
        profile.store.write(fundamentals, fundamentals.empty(), many[:1])
        for key in many[1:]:
            path = Path(profile.store.path(fundamentals, key))
            path.parent.mkdir(parents=True)
            os.link(begin, path)
        started = time.process_time()
        report(instance, profile.store, found(profile, instance))
        assert instance.get_materialized_partitions(FUNDAMENTALS) == set(many)
        shutil.rmtree(begin.parents[2])
        forget(instance, found(profile, instance))
        assert instance.get_materialized_partitions(FUNDAMENTALS) == set()
        assert time.process_time() - started < 20
