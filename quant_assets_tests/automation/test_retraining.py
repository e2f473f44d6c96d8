"""What became of a training that was asked for decides when it is asked for again: attempts, pauses, end states."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quant_assets.automation.retraining import Decision, decide, place_tags
from quant_assets.automation.retraining_facts import Place, Standing
from quant_assets.running.work import ATTEMPT, TRIGGER, Attempt, attempts, in_flight
from quant_assets.settings.automation import RetrainingSettings
from quant_assets_tests.run_records import run

SETTINGS = RetrainingSettings()
CHECKPOINTS, ENCODERS, DEEP = "lightgbm_checkpoint", "transformer_pretrained", "transformer_checkpoint"
READ = {
    CHECKPOINTS: {"labels": (-6, 0)},
    ENCODERS: {"prices": (-12, 0)},
    DEEP: {"labels": (-6, 0), ENCODERS: (-24, 0)},
}
ENERGY = Place(CHECKPOINTS, "energy")
MINUTE = 60


def standing(sector: str = "energy", **changed: Any) -> Standing:
    given = {"first": "2021-04", "last": "2021-04", "reasons": {"age": "due"}} | changed
    return Standing(Place(CHECKPOINTS, sector), "2021-04", "2021-03", "abc", **given)


def decided(instance: dg.DagsterInstance, *standings: Standing, now: float | None = None) -> Decision:
    return decide(
        standings or [standing()],
        in_flight(instance),
        lambda place: attempts(instance, place_tags(place)),
        lambda _: None,
        READ,
        SETTINGS,
        time.time() if now is None else now,
    )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def ended(instance: dg.DagsterInstance, status: Status, **changed: str) -> dg.DagsterRun:
    """A run of what is asked for now, which has ended; the tags as Dagster makes them of the request."""
    (asked,) = decided(instance, now=time.time() + 1e6).asked
    tags = {**asked.request.tags, "dagster/partition": asked.request.partition_key or ""} | changed
    return run(instance, tags, status, "lightgbm_checkpoint")


def test_failures_are_tried_again_ever_later_and_then_given_up(instance: dg.DagsterInstance) -> None:
    keys = set()
    for number, minutes in ((1, 15), (2, 30), (3, 60)):
        keys.add(decided(instance, now=time.time() + 1e6).asked[0].request.run_key)
        made = ended(instance, Status.FAILURE if number < 3 else Status.CANCELED)
        assert made.tags[ATTEMPT] == str(number)
        now = time.time()
        early = decided(instance, now=now + (minutes - 1) * MINUTE)
        what = "failed" if number < 3 else "cancelled"
        assert early.held[ENERGY].startswith(f"attempt {number} {what} (run {made.run_id[:8]}), the next one at ")
        (asked,) = decided(instance, now=now + (minutes + 1) * MINUTE).asked
        assert asked.attempt == number + 1
    made = ended(instance, Status.FAILURE)
    found = decided(instance, now=time.time() + 1e9)
    assert found.asked == ()
    assert found.held[ENERGY].startswith(f"given up after 4 attempts, the last is run {made.run_id[:8]} (failed): fix")
    # Another state of things is another matter: another reason, another checkpoint, another month.
    for other in (standing(reasons={"age": "", "changed": "x"}), standing(first="2021-03")):
        (asked,) = decided(instance, other).asked
        assert asked.attempt == 1
        keys.add(asked.request.run_key)
    assert len(keys) == 5, "a run key that was used is never asked for again"


def test_a_run_that_dagster_retries_is_one_attempt(instance: dg.DagsterInstance) -> None:
    first = ended(instance, Status.FAILURE)
    instance.add_run_tags(first.run_id, {"dagster/will_retry": "true"})
    held = f"run {first.run_id[:8]} has not ended, or Dagster will retry it"
    assert decided(instance, now=time.time() + 1e6).held == {ENERGY: held}
    # Also where the state of things has changed meanwhile: its retry would be beside the new run.
    assert decided(instance, standing(first="2021-03"), now=time.time() + 1e6).held == {ENERGY: held}
    again = dict(first.tags) | {"dagster/root_run_id": first.run_id, "dagster/parent_run_id": first.run_id}
    retry = run(instance, again, Status.FAILURE, "lightgbm_checkpoint")
    instance.add_run_tags(first.run_id, {"dagster/auto_retry_run_id": retry.run_id})
    found = decided(instance)
    assert found.held[ENERGY].startswith(f"attempt 1 failed (run {retry.run_id[:8]})")
    (asked,) = decided(instance, now=time.time() + 16 * MINUTE).asked
    assert asked.attempt == 2


def test_nothing_new_is_an_end(instance: dg.DagsterInstance) -> None:
    made = ended(instance, Status.SUCCESS)
    assert decided(instance, now=time.time() + 1e9).held == {
        ENERGY: f"run {made.run_id[:8]} has trained for this already, without a change"
    }
    (asked,) = decided(instance, standing("it")).asked
    assert asked.standing.place.sector == "it"
    # After another state of things has been answered, the same is asked for anew, under a new key.
    other = standing(reasons={"changed": "settings a 1 -> 2"})
    (between,) = decided(instance, other).asked
    run(instance, dict(between.request.tags), Status.SUCCESS, "lightgbm_checkpoint")
    (again,) = decided(instance).asked
    assert (again.attempt, again.number) == (1, 2)
    assert again.request.run_key != f"retrain:{CHECKPOINTS}:energy:{made.tags[TRIGGER]}:1"


def test_the_most_urgent_are_asked_for_first_and_no_more_than_the_cap(instance: dg.DagsterInstance) -> None:
    sectors = ["energy", "materials", "industrials", "it", "telecoms", "utilities"]
    many = [standing(each) for each in sectors]
    many[3] = standing("it", reasons={"age": "", "changed": ""})
    many[4] = standing("telecoms", urgent=True)
    many[5] = standing("utilities", reasons={})
    found = decided(instance, *many)
    assert [each.standing.place.sector for each in found.asked] == ["telecoms", "it", "energy", "materials"]
    assert [place.sector for place in found.held] == ["industrials"]
    assert "the next tick continues" in found.held[Place(CHECKPOINTS, "industrials")]


def test_what_a_sectors_training_begins_from_comes_first(instance: dg.DagsterInstance) -> None:
    market = Standing(Place(ENCODERS, None), "2021-04", None, None, "2021-03", "2021-03", {"age": "due"})
    deep = Standing(Place(DEEP, "energy"), "2021-04", "2021-03", "abc", "2021-04", "2021-04", {"age": "due"})
    found = decided(instance, deep, standing(), market)
    (first, other) = found.asked
    assert (first.standing, other.standing.place) == (market, ENERGY)
    assert found.held == {deep.place: "transformer_pretrained of 2021-03 is due first"}
    request = first.request
    assert (request.partition_key, request.asset_selection) == ("2021-03", [dg.AssetKey(ENCODERS)])
    tags = {**request.tags, "dagster/partition": "2021-03"}
    going = run(instance, tags, Status.STARTED, ENCODERS)
    writes = f"run {going.run_id[:8]} (retrain) writes transformer_pretrained that it reads: 2021-03"
    assert decided(instance, deep, market).held[deep.place] == writes
    instance.report_run_canceled(going)
    # What the market's training reads is every sector's.
    prices = run(instance, {"dagster/partition": "2020-12|it"}, Status.STARTED, "prices")
    assert "writes prices that it reads" in decided(instance, market, now=time.time() + 1e6).held[market.place]
    instance.report_run_canceled(prices)
    # Once no further attempt is made, what is there must do.
    for _ in range(3):
        (asked,) = decided(instance, market, now=time.time() + 1e6).asked
        run(instance, {**asked.request.tags, "dagster/partition": "2021-03"}, Status.FAILURE, ENCODERS)
    found = decided(instance, deep, market, now=time.time() + 1e9)
    assert found.held[market.place].startswith("given up after 4 attempts")
    assert [each.standing for each in found.asked] == [deep]
    # Attempts at one dataset of a sector are none at another.
    run(instance, {**found.asked[0].request.tags, "dagster/partition": "2021-04|energy"}, Status.SUCCESS, DEEP)
    assert [each.standing.place for each in decided(instance, deep, standing()).asked] == [ENERGY]


def test_a_markets_training_that_cannot_run_holds_no_sector_for_long(instance: dg.DagsterInstance) -> None:
    market = Standing(Place(ENCODERS, None), "2021-04", None, None, "2021-04", "2021-04", {"age": "due"})
    deep = Standing(Place(DEEP, "energy"), "2021-04", "2021-03", "abc", "2021-04", "2021-04", {"age": "due"})
    urgent = replace(deep, place=Place(DEEP, "it"), urgent=True)

    def lacking(*standings: Standing) -> tuple[set[Place], dict[Place, str]]:
        waits = {None: "waits for prices of it"}
        found = decide(
            standings, [], lambda _: [], lambda each: waits.get(each.place.sector), READ, SETTINGS, time.time()
        )
        return {each.standing.place for each in found.asked}, dict(found.held)

    first = "transformer_pretrained of 2021-04 is due first"
    waits = {market.place: "waits for prices of it"}
    assert lacking(market, deep, urgent) == ({urgent.place}, waits | {deep.place: first})
    # Another month has closed meanwhile.
    later = [replace(each, month="2021-05") for each in (market, deep, urgent)]
    assert lacking(*later) == ({deep.place, urgent.place}, waits)
    # One that is requested now would write what the urgent training reads.
    found = decided(instance, market, deep, urgent)
    assert [each.standing for each in found.asked] == [market]
    assert found.held == {deep.place: first, urgent.place: first}


class Retrying(RuleBasedStateMachine):
    """Any sequence of ticks, ends, pauses and changes: what must hold in all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.content, self.reasons = 0.0, 0, 1
        self.runs: list[Attempt] = []
        self.keys: list[str] = []

    @property
    def standing(self) -> Standing:
        reasons = dict.fromkeys(["age", "changed"][: self.reasons], "")
        return Standing(ENERGY, "2021-04", "2021-03", str(self.content), "2021-04", "2021-04", reasons)

    def decided(self) -> Decision:
        return decide([self.standing], [], lambda _: self.runs, lambda _: None, READ, SETTINGS, self.now)

    @initialize()
    def begin(self) -> None:
        self.tick()

    @rule()
    def tick(self) -> None:
        for asked in self.decided().asked:
            request = asked.request
            before = [each for each in self.runs if each.tags[TRIGGER] == request.tags[TRIGGER]]
            trailing = self.runs[len(self.runs) - self.trailing(request.tags[TRIGGER]) :]
            assert all(each.state in ("failed", "cancelled") for each in trailing), (
                "after a success nothing is asked for"
            )
            assert len(trailing) < SETTINGS.max_attempts
            if trailing:
                pause = SETTINGS.backoff_minutes * 2 ** (len(trailing) - 1) * MINUTE
                assert self.now >= (trailing[-1].ended or 0) + pause
            assert request.run_key not in self.keys, "Dagster would not start a second run under a key"
            assert asked.number == len(before) + 1
            self.keys.append(str(request.run_key))
            self.runs.append(Attempt(str(len(self.runs)), "unfinished", None, dict(request.tags)))

    def trailing(self, trigger: str) -> int:
        count = 0
        while count < len(self.runs) and self.runs[-1 - count].tags[TRIGGER] == trigger:
            count += 1
        return count

    @precondition(lambda self: any(each.state == "unfinished" for each in self.runs))
    @rule(state=st.sampled_from(["failed", "cancelled", "succeeded"]), new=st.booleans())
    def end(self, state: Any, new: bool) -> None:
        self.runs[-1] = Attempt(self.runs[-1].run_id, state, self.now, self.runs[-1].tags)
        if state == "succeeded" and new:
            self.content += 1

    @rule(minutes=st.sampled_from([1, 14, 16, 31, 61, 125]))
    def wait(self, minutes: int) -> None:
        self.now += minutes * MINUTE

    @rule(reasons=st.integers(0, 2))
    def change(self, reasons: int) -> None:
        self.reasons = reasons

    @rule(content=st.integers(0, 3))
    def come_back(self, content: int) -> None:
        self.content = content

    @invariant()
    def one_at_a_time(self) -> None:
        assert sum(each.state == "unfinished" for each in self.runs) <= 1

    @invariant()
    def what_is_due_is_asked_for_or_held_back(self) -> None:
        found = self.decided()
        assert len(found.asked) + len(found.held) == (1 if self.standing.reasons else 0)


Retrying.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRetrying = Retrying.TestCase
