"""What is told of failed runs, and of which nothing is told."""

import contextlib
from collections.abc import Iterator

import dagster as dg
import pytest

from quant_assets.automation import on_failure
from quant_assets.automation.alerts import Alert
from quant_assets.automation.on_failure import failure_sensor
from quant_assets.dagster_internals import execute_here
from quant_assets.planning.plan import Phase
from quant_assets.profile import Profile
from quant_assets.running.abandoned import PROCESS_TAG
from quant_assets.running.work import REASONS, RESUMED_BY
from quant_assets.settings.loading import load_settings

pytestmark = pytest.mark.slow


@dg.op
def wrong() -> None:
    raise ValueError("the index has\nno member")


@dg.job
def tiny() -> None:
    wrong()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Alert]:
    found: list[Alert] = []
    monkeypatch.setattr(on_failure, "tell", lambda alert, log: found.append(alert))
    return found


def failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> object:
    """What the sensor makes of a run's failure."""
    event = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)[-1].dagster_event
    assert event is not None
    context = dg.build_run_status_sensor_context(
        sensor_name="on_failure", dagster_event=event, dagster_instance=instance, dagster_run=run
    ).for_run_failure()
    return failure_sensor(Profile(load_settings("demo")))(context)


def test_a_run_on_partitions_is_told_with_its_place_and_the_command(
    instance: dg.DagsterInstance, told: list[Alert]
) -> None:
    phase = Phase(("ohlcv", "prices"), "2024-03", "2024-06", ("healthcare", "financials"))
    run = instance.create_run_for_job(tiny, tags={**phase.range_tags, REASONS: "2 revised"})
    instance.delete_run(run.run_id)
    run = run._replace(asset_selection=frozenset(map(dg.AssetKey, phase.assets)))
    instance.add_run(run)
    instance.report_run_failed(run, "This run has been marked as failed\nfrom outside the execution context.")
    failed(instance, run)
    (alert,) = told
    assert alert.title == "demo: failed: ohlcv, prices (healthcare, financials, 2024-03 to 2024-06)"
    assert alert.text.splitlines() == [
        "ohlcv, prices (healthcare, financials, 2024-03 to 2024-06): This run has been marked as failed from outside "
        f"the execution context. (unexpected; see run {run.run_id} in the web UI)",
        f"run {run.run_id}",
        "why it ran: 2 revised",
        "go on with: quant run -p demo -s healthcare -s financials --from 2024-03 --to 2024-06 --select ohlcv,prices",
    ]
    assert (alert.fields["sectors"], alert.fields["first"]) == ("healthcare,financials", "2024-03")


def test_a_run_of_a_command_is_resumed_by_the_whole_command(instance: dg.DagsterInstance, told: list[Alert]) -> None:
    phase, command = Phase(("prices",), "2024-03", "2024-06", ("it",)), "quant run -p demo -s it --from 2024-06"
    run = instance.create_run_for_job(tiny, tags={**phase.range_tags, RESUMED_BY: command})
    instance.report_run_failed(run, "its process was killed")
    failed(instance, run)
    (alert,) = told
    assert alert.text.splitlines()[-1] == f"go on with: {command}"
    assert alert.fields["command"] == command


def test_a_job_without_partitions_is_told_by_its_first_cause(instance: dg.DagsterInstance, told: list[Alert]) -> None:
    result = tiny.execute_in_process(instance=instance, raise_on_error=False)
    failed(instance, result.dagster_run)
    (alert,) = told
    assert alert.title == "demo: failed: tiny"
    assert alert.text.splitlines()[0] == "ValueError: the index has no member"


def test_an_interrupted_run_is_no_failure_and_nothing_is_told_of_one_that_its_user_interrupted(
    instance: dg.DagsterInstance, told: list[Alert]
) -> None:
    @dg.op
    def ends() -> None:
        raise dg.DagsterExecutionInterruptedError  # which Dagster raises at SIGINT and SIGTERM

    @dg.job
    def long() -> None:
        ends()

    with contextlib.suppress(dg.DagsterExecutionInterruptedError):
        execute_here(long, instance, {}, {})
    (run,) = instance.get_runs()
    failed(instance, run)
    (alert,) = told
    assert alert.title == "demo: interrupted: long"
    assert alert.fields["reason"] == "its process was told to end (SIGINT or SIGTERM); the run itself did not fail"
    told.clear()
    instance.add_run_tags(run.run_id, {PROCESS_TAG: "0" * 32})
    assert failed(instance, run) is not None
    assert told == [], "who typed the command knows it"


def test_a_run_that_is_tried_again_is_not_told_and_its_last_attempt_is(
    instance: dg.DagsterInstance, told: list[Alert]
) -> None:
    run = instance.create_run_for_job(tiny, tags={"dagster/partition": "2024-06|energy"})
    instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    instance.report_run_failed(run, "its process died")
    assert failed(instance, run) is not None
    assert told == []
    last = instance.create_run_for_job(tiny, tags={"dagster/partition": "2024-06-14|energy"})
    instance.add_run_tags(last.run_id, {"dagster/will_retry": "false"})
    instance.report_run_failed(last, "its process died")
    failed(instance, last)
    (alert,) = told
    assert alert.title.startswith("demo: failed: universe, ohlcv, quarantine and ")
    assert alert.title.endswith(" more (energy, 2024-06-14)")
    assert told[0].fields["command"] == "the run's page in the web UI (re-execute from failure)"
