"""What run records say: which partitions a run writes, and what became of what was asked for with its retries."""

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status

from quant_assets.planning.plan import Phase
from quant_assets.running.work import TRIGGER, Attempt, attempts, in_flight
from quant_assets.settings.sectors import SECTORS
from quant_assets_tests.run_records import run


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_a_range_run_is_in_flight_on_its_rectangle(instance: dg.DagsterInstance) -> None:
    phase = Phase(("ohlcv", "prices"), "2024-03", "2024-06", ("healthcare", "financials"))
    made = run(instance, phase.range_tags, Status.STARTED, *phase.assets)
    (work,) = in_flight(instance)
    assert (work.run_id, work.sectors, work.where) == (
        made.run_id,
        ("healthcare", "financials"),
        "healthcare, financials, 2024-03 to 2024-06",
    )
    assert work.touches(["prices", "labels"], "healthcare", "2024-06", "2024-09")
    assert not work.touches(["labels"], "healthcare", "2024-06", "2024-06")
    assert not work.touches(["prices"], "it", "2024-06", "2024-06")
    assert not work.touches(["prices"], "healthcare", "2024-07", "2024-09")
    assert not work.touches(["prices"], "healthcare", "2024-06-03", "2024-06-03")
    assert not work.touches(["prices"], None, "2024-06", "2024-06")


def test_a_run_of_one_partition_and_one_over_all_sectors(instance: dg.DagsterInstance) -> None:
    run(instance, {"dagster/partition": "2024-06|energy"}, Status.QUEUED)
    run(instance, {"dagster/partition": "2024-06"}, Status.STARTING, "total_portfolio")
    run(instance, Phase(("ohlcv",), "2024-06", "2024-06", tuple(SECTORS)).range_tags, Status.STARTED, "ohlcv")
    one, market, every = in_flight(instance)
    assert one.assets is None
    assert one.touches(["anything"], "energy", "2024-06", "2024-06")
    assert market.touches(["total_portfolio"], None, "2024-01", "2024-12")
    assert every.where == "all sectors, 2024-06"
    assert every.touches(["ohlcv"], "re", "2024-06", "2024-06")


def test_what_has_ended_or_has_other_partitions_is_not_in_flight(instance: dg.DagsterInstance) -> None:
    for status in (Status.SUCCESS, Status.FAILURE, Status.CANCELED):
        run(instance, {"dagster/partition": "2024-06|energy"}, status)
    run(instance, {}, Status.STARTED)
    run(instance, {"dagster/partition": "customers"}, Status.STARTED)
    assert in_flight(instance) == []


def test_a_run_and_its_retries_are_one_attempt(instance: dg.DagsterInstance) -> None:
    """A prototype that looked at first runs alone trained again after the retry had succeeded."""
    asked = {TRIGGER: "abc"}
    first = run(instance, asked, Status.FAILURE)
    instance.add_run_tags(first.run_id, {"dagster/will_retry": "true"})
    (attempt,) = attempts(instance, asked)
    assert (attempt.state, attempt.ended) == ("unfinished", None)  # the retry is due

    again = asked | {"dagster/root_run_id": first.run_id, "dagster/parent_run_id": first.run_id}
    retry = run(instance, again, Status.SUCCESS)
    instance.add_run_tags(first.run_id, {"dagster/auto_retry_run_id": retry.run_id})
    (attempt,) = attempts(instance, asked)
    assert (attempt.run_id, attempt.state) == (retry.run_id, "succeeded")

    run(instance, asked, Status.FAILURE)
    run(instance, asked, Status.CANCELED)
    run(instance, {TRIGGER: "another"}, Status.STARTED)
    found = attempts(instance, asked)
    assert [each.state for each in found] == ["succeeded", "failed", "cancelled"]
    assert all(isinstance(each, Attempt) and each.ended for each in found)
