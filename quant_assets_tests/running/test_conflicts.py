"""What `quant run` and the queue of the instance know of each other: both wait for, or refuse, the same partitions."""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from quant_assets.dagster_internals import execute_here, job_of_all_assets, submit_assets
from quant_assets.partitions import Months
from quant_assets.planning.plan import Phase
from quant_assets.running.conflicts import InFlightError, command_tags, refuse_in_flight
from quant_assets.running.execute import execute
from quant_assets.running.instance import dagster_home, initialise_instance
from quant_assets.running.launching import CODE_LOCATION, Submitted
from quant_assets.settings.loading import load_settings

MONTH = "2024-06"

pytestmark = pytest.mark.slow


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """A new home with the project's own dagster.yaml, from which more than two runs are taken at a time."""
    for name, value in {
        "DAGSTER_HOME": str(tmp_path / "home"),
        "QUANT__STORAGE": str(tmp_path / "data"),
        "QUANT__DAGSTER__STORAGE": "sqlite",
        "QUANT__AS_OF": "2024-06-28",
        "QUANT__PARTITIONS__START": "2024-05",
    }.items():
        monkeypatch.setenv(name, value)
    config = dagster_home("demo") / "dagster.yaml"
    config.write_text(config.read_text().replace("max_concurrent_runs: 2", "max_concurrent_runs: 20"))
    initialise_instance()
    with dg.DagsterInstance.get() as found:
        yield found


@pytest.fixture
def defs() -> dg.Definitions:
    """Assets by the names of the graph's, without what they compute: only records of runs are made of them."""
    months = Months("2024-05", MONTH)
    grains = dict.fromkeys(("universe", "fundamentals", "prices", "weights", "lightgbm_checkpoint"), months.by_sector)

    def made(named: str, grain: dg.PartitionsDefinition) -> dg.AssetsDefinition:
        @dg.asset(name=named, partitions_def=grain)
        def nothing() -> None:
            """Never computed."""

        return nothing

    return dg.Definitions([*(made(*each) for each in grains.items()), made("macro", months.monthly)])


class Runs:
    """Runs as the web UI, backfills and the command make them, and what the daemon's own code takes from the queue."""

    def __init__(self, instance: dg.DagsterInstance, job: dg.JobDefinition) -> None:
        self.instance, self.job = instance, job

    def queued(self, tags: dict[str, str], *assets: str) -> str:
        return submit_assets(self.instance, self.job, assets, CODE_LOCATION, tags)

    def started(self, tags: dict[str, str], *assets: str) -> dg.DagsterRun:
        selected = {dg.AssetKey(name) for name in assets}
        return self.instance.create_run_for_job(self.job, asset_selection=selected, tags=tags, status=Status.STARTED)

    def taken(self) -> list[str]:
        """Which runs the daemon would launch now, in order."""
        daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        config = self.instance.get_concurrency_config()
        return [run.run_id for run in daemon._get_runs_to_dequeue(self.instance, config, None)]


@pytest.fixture
def runs(instance: dg.DagsterInstance, defs: dg.Definitions) -> Runs:
    return Runs(instance, job_of_all_assets(defs))


def one(sector: str, month: str = MONTH) -> dict[str, str]:
    """Tags of one partition, as the web UI and a sensor's request have it."""
    return {
        "dagster/partition": f"{month}|{sector}",
        "dagster/partition/month": month,
        "dagster/partition/sector": sector,
    }


def test_of_a_sector_one_run_at_a_time_is_taken_wherever_it_comes_from(runs: Runs) -> None:
    first = runs.queued(one("it"), "prices")
    same = runs.queued(Phase(("weights",), "2024-05", MONTH, ("it",)).range_tags, "weights")
    several = runs.queued(Phase(("prices",), MONTH, MONTH, ("healthcare", "financials", "it")).range_tags, "prices")
    other = runs.queued(one("energy"), "prices")
    training = runs.queued(one("it"), "lightgbm_checkpoint")
    second_training = runs.queued(one("it"), "lightgbm_checkpoint")
    market = runs.queued({"dagster/partition": MONTH}, "macro")
    without = runs.queued({}, "prices")
    assert runs.taken() == [first, other, training, market, without]
    for run_id in (first, training):
        runs.instance.report_run_failed(runs.instance.get_run_by_id(run_id), "to make room")
    assert set(runs.taken()) == {same, other, second_training, market, without}
    assert several not in runs.taken(), "one of its sectors is not free"
    for run_id in (same, other):
        runs.instance.report_run_failed(runs.instance.get_run_by_id(run_id), "to make room")
    assert several in runs.taken()


def test_what_the_command_executes_keeps_the_queue_from_the_same_sectors(runs: Runs) -> None:
    phase = Phase(("fundamentals",), "2024-05", MONTH, ("healthcare", "financials"))
    at_work = runs.started(command_tags(phase), *phase.assets)
    waiting, free = runs.queued(one("financials"), "fundamentals"), runs.queued(one("energy"), "fundamentals")
    assert runs.taken() == [free]
    runs.instance.report_run_failed(at_work, "it is over")
    assert set(runs.taken()) == {waiting, free}


def test_the_command_leaves_tags_that_the_queue_goes_by(runs: Runs) -> None:
    """What is written above by hand the command writes: a real run of it."""
    phase = Phase(("fundamentals",), "2024-05", MONTH, ("it", "telecoms"))
    execute([[phase]], load_settings("demo"), 1, lambda *_: None)
    (run,) = runs.instance.get_runs()
    assert run.status == Status.SUCCESS
    told = {"quant/target": "fundamentals", "quant/sectors": "it, telecoms", "quant/months": f"2024-05 to {MONTH}"}
    assert {tag: run.tags.get(tag) for tag in told} == told
    assert {tag for tag in run.tags if tag.startswith("quant/")} == {
        *told,
        "quant/origin",
        "quant/process",
        "quant/writes/it",
        "quant/writes/telecoms",
    }


def test_the_command_refuses_what_a_run_is_writing_and_names_it(runs: Runs) -> None:
    phase = Phase(("universe", "fundamentals"), "2024-05", MONTH, ("it",))
    by_schedule = {**one("it"), "dagster/schedule_name": "after_close"}
    at_work = runs.started(by_schedule, "fundamentals")
    written: list[str] = []
    with pytest.raises(InFlightError) as refused:
        execute([[phase]], load_settings("demo"), 1, lambda dataset, _: written.append(dataset))
    assert str(refused.value) == (
        f"run {at_work.run_id} (schedule after_close) is writing fundamentals (it, {MONTH}) at this moment; wait for "
        "its end, cancel it in the web UI, or add --submit: the queue starts these runs after it"
    )
    assert written == []
    assert len(runs.instance.get_runs()) == 1, "nothing was begun"
    # Neither another sector, nor another month, nor another asset, nor a run that waits.
    execute([[Phase(("fundamentals",), MONTH, MONTH, ("energy",))]], load_settings("demo"), 1, lambda *_: None)
    refuse_in_flight(runs.instance, [Phase(("fundamentals",), "2024-05", "2024-05", ("it",))])
    refuse_in_flight(runs.instance, [Phase(("universe",), MONTH, MONTH, ("it",))])
    runs.instance.report_run_failed(at_work, "it is over")
    runs.queued(one("it"), "fundamentals")
    refuse_in_flight(runs.instance, [phase])


def test_a_run_that_begins_meanwhile_ends_the_chain_before_it_writes_the_same(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon's run begins between two phases of the command."""
    begun: list[dg.DagsterRun] = []

    def then_another_begins(*given: object, **named: object) -> object:
        result = execute_here(*given, **named)  # type: ignore[arg-type]
        begun.append(runs.started(one("it"), "universe"))
        return result

    monkeypatch.setattr("quant_assets.running.execute.execute_here", then_another_begins)
    chain = [Phase((name,), MONTH, MONTH, ("it",)) for name in ("fundamentals", "universe")]
    with pytest.raises(Exception, match=r"^run \S+ is writing universe \(it, 2024-06\) at this moment"):
        execute([chain], load_settings("demo"), 1, lambda *_: None)
    assert len(begun) == 1


def test_a_home_from_before_refuses_to_submit_beside_a_run_and_says_what_to_take(
    runs: Runs, defs: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quant_assets.running.launching._served", lambda _: True)
    phase = Phase(("fundamentals",), MONTH, MONTH, ("it",))
    runs.started(command_tags(phase), "fundamentals")
    config = Path(os.environ["DAGSTER_HOME"], "dagster.yaml")
    executor = Submitted(defs)
    executor._begun(runs.instance, (phase,))  # waits in the queue
    assert runs.taken() == []
    config.write_text("run_coordinator: {module: dagster.core.run_coordinator, class: QueuedRunCoordinator}\n")
    with dg.DagsterInstance.get() as older, pytest.raises(InFlightError, match="quant instance update"):
        executor._begun(older, (Phase(("fundamentals",), "2024-05", MONTH, ("it",)),))
