"""What the runs that `retrain` asks for write: half a year of ticks against one run, and a training that is ordered."""

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.automation.moment import Moment
from quant_assets.automation.retrain import Tick
from quant_assets.partitions import key, month_range
from quant_assets.planning.plan import Phase
from quant_assets.provenance.record import ORDERS, MadeBy
from quant_assets.schemas import CHECKPOINTS
from quant_assets.training_orders import ORDER, REASONS
from quant_assets_tests.synthetic_checkpoints import LEARNT, LEARNT_ENVIRONMENT, Built, closing

pytestmark = pytest.mark.slow

NAME = CHECKPOINTS.name


class Storage:
    """A storage whose checkpoints are made by runs of the real asset."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._monkeypatch = folder, monkeypatch

    def at(self, month: str, **changed: str) -> Moment:
        """The moment at the close of a month."""
        for name, value in (
            LEARNT_ENVIRONMENT | {"QUANT__STORAGE": str(self._folder), "QUANT__AS_OF": f"{closing(month)}"} | changed
        ).items():
            self._monkeypatch.setenv(name, value)
        return Moment("demo")

    def materialise(self, moment: Moment, tags: dict[str, str]) -> dg.ExecuteInProcessResult:
        """A run of the asset with the tags of a request, in this process."""
        job = moment.defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey(NAME)})
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(instance=instance, tags=tags, run_config=quiet, raise_on_error=False)
        return result

    def files(self, moment: Moment) -> dict[str, bytes]:
        """Partitions of checkpoints by key."""
        dataset, store = moment.profile.datasets[NAME], moment.profile.store
        return {each: Path(store.path(dataset, each)).read_bytes() for each in sorted(store.existing(dataset))}


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Storage]:
    return lambda name: Storage(tmp_path / name, monkeypatch)


def span(first: str, last: str) -> dict[str, str]:
    return Phase((NAME,), first, last, (LEARNT,)).range_tags


def test_half_a_year_of_ticks_makes_what_one_run_makes(storage: Callable[[str], Storage]) -> None:
    live = storage("live")
    moment = live.at("2021-03")
    Built(moment).learnt()
    assert live.materialise(moment, span("2020-10", "2021-03")).success
    said = {}
    with dg.DagsterInstance.ephemeral() as instance:
        for month in month_range("2021-03", "2021-09"):
            moment = live.at(month)
            Built(moment).learnt()
            tick = Tick.at(moment, instance, 0.0)
            said[month] = {name for each in tick.decision.asked for name in each.standing.reasons}
            for asked in tick.decision.asked:
                request = asked.request
                assert request.partition_key == key(LEARNT, month)
                assert live.materialise(moment, {**request.tags, **span(month, month)}).success
            again = Tick.at(live.at(month), instance, 0.0)
            assert again.decision.asked == ()
            assert again.said()[0] == f"nothing is due at the close of {month}: {LEARNT}"
    assert said == {
        "2021-03": set(),
        "2021-04": {"month"},
        "2021-05": {"month"},
        "2021-06": {"age"},
        "2021-07": {"month"},
        "2021-08": {"month"},
        "2021-09": {"age"},
    }
    fresh = storage("fresh")
    moment = fresh.at("2021-09")
    Built(moment).learnt()
    assert fresh.materialise(moment, span("2020-10", "2021-09")).success
    assert live.files(live.at("2021-09")) == fresh.files(fresh.at("2021-09"))
    rows = moment.profile.store.read(CHECKPOINTS, [key(LEARNT, each) for each in ("2021-06", "2021-09")]).collect()
    assert set(rows["status"]) == {"trained"}


def test_an_order_trains_a_month_for_good_and_says_why(storage: Callable[[str], Storage]) -> None:
    found = storage("ordered")
    moment = found.at("2021-04")
    Built(moment).learnt()
    one, month = key(LEARNT, "2021-04"), span("2021-04", "2021-04")
    assert found.materialise(moment, month).success
    plain = found.files(moment)[one]
    result = found.materialise(moment, month | {ORDER: "2021-04", REASONS: "drift: a share of 0.7"})
    assert result.success
    (event,) = result.asset_materializations_for_node(NAME)
    assert event.metadata["ordered_because"].value == "drift: a share of 0.7"
    ordered = found.files(moment)[one]
    store = moment.profile.store
    assert store.read(CHECKPOINTS, [one]).select("status").collect()["status"].to_list() == ["trained"]
    noted = json.loads(store.read_artifact(f"orders/{LEARNT}/2021-04.json"))
    assert noted == {"month": "2021-04", "sector": LEARNT, "why": "drift: a share of 0.7"}
    made_by = MadeBy.parsed(store.recorded(CHECKPOINTS, one).made_by)
    assert made_by is not None
    assert ORDERS in made_by.inputs
    # A run that knows nothing of it makes the same; so does another order, the first one stands.
    assert found.materialise(moment, span("2021-04", "2021-04")).success
    assert found.files(moment)[one] == ordered
    assert found.materialise(moment, month | {ORDER: "2021-04", REASONS: "another"}).success
    assert found.files(moment)[one] == ordered
    # Other months follow from no order.
    assert found.materialise(moment, span("2021-01", "2021-04")).success
    other = MadeBy.parsed(store.recorded(CHECKPOINTS, key(LEARNT, "2021-03")).made_by)
    assert other is not None
    assert ORDERS not in other.inputs
    # Taken back, the month is as it was.
    Path(store.artifact_url(f"orders/{LEARNT}/2021-04.json")).unlink()
    assert found.materialise(moment, month).success
    assert found.files(moment)[one] == plain


def test_an_order_of_a_month_that_the_run_has_not_is_refused(storage: Callable[[str], Storage]) -> None:
    found = storage("refused")
    moment = found.at("2021-04")
    Built(moment).learnt()
    result = found.materialise(moment, span("2021-04", "2021-04") | {ORDER: "2021-5"})
    assert not result.success
    (failure,) = result.get_step_failure_events()
    messages = f"{failure.step_failure_data.error} {failure.step_failure_data.error.cause}"
    assert "tag quant/order names '2021-5', which is not one of the run's months 2021-04 to 2021-04" in messages
    assert not moment.profile.store.artifacts("orders")
