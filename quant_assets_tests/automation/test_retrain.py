"""The sensor `retrain` on storages made by hand: each reason, what a run of it writes, and what holds a sector back."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status

from quant_assets.automation.moment import Moment
from quant_assets.automation.retrain import Tick
from quant_assets.automation.retraining_facts import Place
from quant_assets.partitions import key, month_range
from quant_assets.planning.plan import Phase
from quant_assets.running.work import ATTEMPT, ORIGIN, REASONS, TRIGGER
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.sectors import SECTORS
from quant_assets.training_orders import ORDER
from quant_assets_tests.run_records import run
from quant_assets_tests.synthetic_checkpoints import ENVIRONMENT, FIRST, SECTOR, Built

pytestmark = pytest.mark.slow

NOW = 1_700_000_000.0
Set = Callable[..., Built]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Set:
    """Gives the storage as the settings say it; called again, the same storage under other settings."""

    def made(**changed: str) -> Built:
        for name, value in (ENVIRONMENT | {"QUANT__STORAGE": str(tmp_path / "storage")} | changed).items():
            monkeypatch.setenv(name, value)
        return Built(Moment("demo"))

    return made


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def tick(instance: dg.DagsterInstance, now: float = NOW) -> Tick:
    return Tick.at(Moment("demo"), instance, now)


def asked(found: Tick) -> dict[str, tuple[list[str], set[str], str | None]]:
    """Of each sector that is asked for: partitions, names of the reasons, and the month that is ordered."""
    return {
        each.standing.place.said: (each.standing.keys, set(each.standing.reasons), each.standing.order)
        for each in found.decision.asked
    }


def held(found: Tick) -> dict[str, str]:
    """Why each sector is held back."""
    return {place.said: why for place, why in found.decision.held.items()}


#: Checkpoints up to March, the last training month, and what lies between; April has closed.
TRAINED, EMPTY = ["2020-12", "2021-03"], ["2020-11", "2021-01", "2021-02"]


def test_a_closed_month_is_asked_for_once_it_has_closed(build: Set, instance: dg.DagsterInstance) -> None:
    built = build()
    built.inputs()
    built.checkpoints(TRAINED, EMPTY)
    assert asked(tick(instance)) == {SECTOR: ([key(SECTOR, "2021-04")], {"month"}, None)}
    built.checkpoints([], ["2021-04"])
    found = tick(instance)
    assert asked(found) == {}
    assert "nothing is due at the close of 2021-04: energy" in found.said()
    assert any(line.startswith("without any checkpoint so far, so not requested: materials") for line in found.said())


def test_a_training_is_due_at_the_close_of_its_month_and_not_before(build: Set, instance: dg.DagsterInstance) -> None:
    built = build(QUANT__AS_OF="2021-03-30")
    built.inputs()
    built.checkpoints(["2020-12"], ["2020-09", "2020-10", "2020-11", "2021-01", "2021-02"])
    assert tick(instance).said()[0] == "nothing is due at the close of 2021-02: energy"
    built = build(QUANT__AS_OF="2021-03-31")
    found = tick(instance)
    why = held(found)[SECTOR]
    assert why.startswith(
        "labels of 2020-11, 2020-12, 2021-01 … and 2 more was written before all was known; quant run -p"
    )
    assert why.endswith("--from 2021-03 --to 2021-03 --select lightgbm_checkpoint")
    built.inputs()
    found = tick(instance)
    assert asked(found) == {SECTOR: ([key(SECTOR, "2021-03")], {"age"}, None)}
    (request,) = (each.request for each in found.decision.asked)
    assert request.tags[ORIGIN] == "retrain"
    assert request.tags[TRIGGER] in str(request.run_key)
    assert request.tags[ATTEMPT] == "1"
    assert request.tags[REASONS].startswith("age: the training of 2021-03 is due, the newest is of 2020-12")
    assert ORDER not in request.tags
    # A training of the running month, by a person before its close, is not the one that is due at it.
    built = build(QUANT__AS_OF="2021-03-25")
    built.checkpoints(["2021-03"])
    build(QUANT__AS_OF="2021-03-31")
    assert asked(tick(instance)) == {SECTOR: ([key(SECTOR, "2021-03")], {"age"}, None)}


def test_what_was_missed_is_one_range_the_older_stretch_first(build: Set, instance: dg.DagsterInstance) -> None:
    built = build()
    built.inputs()
    built.checkpoints(["2020-12"], ["2020-11", "2021-01"])
    found = tick(instance)
    assert asked(found) == {SECTOR: ([key(SECTOR, f"2021-0{month}") for month in (2, 3, 4)], {"age"}, None)}
    (request,) = (each.request for each in found.decision.asked)
    assert request.partition_key is None
    assert request.tags | Phase((), "2021-02", "2021-04", (SECTOR,)).range_tags == request.tags
    built.checkpoints([], ["2021-03"])
    assert asked(tick(instance)) == {SECTOR: ([key(SECTOR, "2021-02")], {"month"}, None)}


def test_one_that_is_about_to_be_too_old_comes_first(build: Set, instance: dg.DagsterInstance) -> None:
    built = build(QUANT__RETRAINING__MAX_REQUESTS="1")
    for sector in (SECTOR, "it"):
        built.inputs(sector)
    built.checkpoints(["2020-12", "2021-03"], ["2020-11", "2021-01", "2021-02"])
    built.checkpoints(["2020-11"], ["2020-12", "2021-01", "2021-02"], "it")
    found = tick(instance)
    assert list(asked(found)) == ["it"]
    assert found.decision.asked[0].request.tags["dagster/priority"] == "11"
    assert held(found) == {SECTOR: "1 runs are requested at once (retraining.max_requests), the next tick continues"}


def test_a_low_rank_ic_orders_a_training_by_what_was_known_at_the_close(
    build: Set, instance: dg.DagsterInstance
) -> None:
    built = build(QUANT__RETRAINING__IC_MIN_SESSIONS="10")
    built.inputs()
    built.checkpoints(TRAINED, [*EMPTY, "2021-04"])
    built.forecasts(["2021-04"], "2021-03", right=True)
    assert asked(tick(instance)) == {}
    built.forecasts(["2021-04"], "2021-03", right=False)
    found = tick(instance)
    assert asked(found) == {SECTOR: ([key(SECTOR, "2021-04")], {"rank_ic"}, "2021-04")}
    (first,) = (each.request for each in found.decision.asked)
    assert first.tags[ORDER] == "2021-04"
    assert "rank_ic: lightgbm: rank IC -1.000 of 19 sessions at horizon 1, at least 0.2" in first.tags[REASONS]
    # Another figure is the same state of things; so is another day in May.
    built.forecasts(["2021-04"], "2021-03", right=False, late=2)
    (other,) = (each.request for each in tick(instance).decision.asked)
    assert "of 17 sessions" in other.tags[REASONS]
    assert other.run_key == first.run_key
    # What becomes known after the close decides nothing.
    built.forecasts(["2021-04"], "2021-03", right=False, late=15)
    assert asked(tick(instance)) == {}
    # Forecasts of an older checkpoint say nothing of this one.
    built.forecasts(["2021-04"], "2020-12", right=False)
    assert asked(tick(instance)) == {}
    built.forecasts(["2021-04"], "2021-03", right=False)
    build(QUANT__RETRAINING__ON_LOW_IC="false")
    assert asked(tick(instance)) == {}
    # Once April is trained, the reason is answered.
    built = build()
    built.checkpoints([*TRAINED, "2021-04"], EMPTY)
    assert asked(tick(instance)) == {}


def test_a_drift_orders_a_training(build: Set, instance: dg.DagsterInstance) -> None:
    built = build()
    built.inputs()
    built.checkpoints(TRAINED, [*EMPTY, "2021-04"])
    built.forecasts(["2021-04"], "2021-03", right=True)
    assert "not judged, drift: feature_drift of 2021-04 is not stored: energy" in tick(instance).said()
    for psi, usual in (([0.1, 0.2, 0.2, 0.9], 0.2), ([0.3, 0.4, 0.9], 0.95)):
        built.drift("2021-04", "2021-03", psi, usual=usual)
        assert asked(tick(instance)) == {}
    built.drift("2021-04", "2021-03", [0.1, 0.4, 0.9])
    found = tick(instance)
    assert asked(found) == {SECTOR: ([key(SECTOR, "2021-04")], {"drift"}, "2021-04")}
    (request,) = (each.request for each in found.decision.asked)
    assert request.tags[REASONS] == (
        "drift: lightgbm: in 2021-04 67% of the features have a PSI above 0.25 and above the usual (limit 25%), rows "
        "out of range: unknown (limit 25%)"
    )
    built.drift("2021-04", "2021-03", [0.3, 0.4, 0.9])
    assert [each.request.run_key for each in tick(instance).decision.asked] == [request.run_key]
    # That of another checkpoint is none of the newest one's; and the limits are settings.
    built.drift("2021-04", "2020-12", [0.3, 0.4, 0.9])
    assert asked(tick(instance)) == {}
    built.drift("2021-04", "2021-03", [0.3, 0.4, 0.9])
    for name, value in (("QUANT__DRIFT__MAX_PSI", "1"), ("QUANT__RETRAINING__ON_DRIFT", "false")):
        build(**{name: value})
        assert asked(tick(instance)) == {}
        build(**{name: {"1": "0.25", "false": "true"}[value]})
    # Of the ensemble each model is judged by itself, and named.
    built = build(QUANT__WEIGHTS__MODEL="ensemble")
    (request,) = (each.request for each in tick(instance).decision.asked)
    assert request.tags[REASONS].startswith("drift: lightgbm: in 2021-04 ")
    build(QUANT__WEIGHTS__MODEL="lightgbm")
    # A training month that is due has it beside its own reason, and needs no order.
    built = build(QUANT__TRAINING__CADENCE_MONTHS="4")
    Path(built.profile.store.path(built.profile.datasets[CHECKPOINTS.name], key(SECTOR, "2021-04"))).unlink()
    found = tick(instance)
    assert {"age", "drift"} <= found.standings[Place(CHECKPOINTS.name, SECTOR)].reasons.keys()


def test_what_is_not_known_at_the_close_is_said(build: Set, instance: dg.DagsterInstance) -> None:
    built = build(QUANT__AS_OF="2021-04-15")
    built.inputs()
    built.checkpoints(TRAINED, EMPTY)
    build(QUANT__AS_OF="2021-04-30")
    assert "not judged, rank_ic: predictions of 2021-04 is not stored: energy" in tick(instance).said()
    built.forecasts(["2021-04"], "2021-03", right=True)
    told = "not judged, rank_ic: predictions of 2021-04 was written before 2021-04-30 had closed: energy"
    assert told in tick(instance).said()


def test_matured_labels_are_a_reason_where_that_is_set(build: Set, instance: dg.DagsterInstance) -> None:
    built = build(QUANT__RETRAINING__MATURED_SESSIONS="21")
    built.inputs()
    built.checkpoints(TRAINED, [*EMPTY, "2021-04"])
    assert asked(tick(instance)) == {SECTOR: ([key(SECTOR, "2021-04")], {"labels"}, "2021-04")}
    build(QUANT__RETRAINING__MATURED_SESSIONS="22")
    assert asked(tick(instance)) == {}


def test_updates_are_no_training_and_their_forecasts_are_judged_with_those_of_theirs(
    build: Set, instance: dg.DagsterInstance
) -> None:
    built = build(QUANT__AS_OF="2021-05-31", QUANT__RETRAINING__MATURED_SESSIONS="21")
    built.checkpoints(TRAINED, EMPTY)
    built.checkpoints(["2021-04", "2021-05"], status="updated")
    built.forecasts(["2021-04"], "2021-03", right=True)
    built.forecasts(["2021-05"], "2021-04", right=True)
    built.drift("2021-05", "2021-04", [0.1, 0.2, 0.2, 0.9])
    found = tick(instance).standings[Place(CHECKPOINTS.name, SECTOR)]
    assert (found.newest, found.untold) == ("2021-03", ())
    assert found.reasons.keys() == {"labels"}, "they have matured since the training, whatever was fed since"
    build(QUANT__AS_OF="2021-05-31", QUANT__RETRAINING__MATURED_SESSIONS="60", QUANT__RETRAINING__IC_MIN_SESSIONS="30")
    assert tick(instance).standings[Place(CHECKPOINTS.name, SECTOR)].reasons == {}
    # Neither month alone has so many sessions.
    built.forecasts(["2021-04"], "2021-03", right=False)
    built.forecasts(["2021-05"], "2021-04", right=False)
    found = tick(instance).standings[Place(CHECKPOINTS.name, SECTOR)]
    assert (found.untold, found.reasons.keys()) == ((), {"rank_ic"})
    built.drift("2021-05", "2021-04", [0.1, 0.4, 0.9])
    assert tick(instance).standings[Place(CHECKPOINTS.name, SECTOR)].reasons.keys() == {"rank_ic", "drift"}
    # The next training is due as if there had been no update.
    build(QUANT__AS_OF="2021-06-30")
    found = tick(instance).standings[Place(CHECKPOINTS.name, SECTOR)]
    assert (found.newest, found.first) == ("2021-03", "2021-06")
    assert "age" in found.reasons


def test_changed_settings_train_the_newest_training_again(build: Set, instance: dg.DagsterInstance) -> None:
    built = build()
    built.inputs()
    built.checkpoints(TRAINED, [*EMPTY, "2021-04"])
    assert asked(tick(instance)) == {}
    before = tick(instance).standings[Place(CHECKPOINTS.name, SECTOR)].trigger
    build(QUANT__TRAINING__MIN_ROWS="700")
    found = tick(instance)
    assert asked(found) == {SECTOR: ([key(SECTOR, "2021-03"), key(SECTOR, "2021-04")], {"changed"}, None)}
    (request,) = (each.request for each in found.decision.asked)
    assert request.tags[REASONS] == ("changed: settings training.min_rows 1000 -> 700, since the training of 2021-03")
    build(QUANT__TRAINING__MIN_ROWS="800")
    again = tick(instance).standings[Place(CHECKPOINTS.name, SECTOR)].trigger
    assert len({before, request.tags[TRIGGER], again}) == 3


def test_inputs_that_are_missing_or_stale_hold_a_sector_back_with_the_command_that_mends_them(
    build: Set, instance: dg.DagsterInstance
) -> None:
    built = build()
    built.inputs()
    built.checkpoints(TRAINED, EMPTY)
    place = Path(built.profile.store.path(built.profile.datasets["features"], key(SECTOR, "2020-11")))
    content = place.read_bytes()
    place.unlink()
    assert held(tick(instance)) == {
        SECTOR: "features of 2020-11 is missing; quant run -p demo -s energy --from 2021-04 --to 2021-04 "
        "--select lightgbm_checkpoint"
    }
    place.write_bytes(content)
    assert list(asked(tick(instance))) == [SECTOR]
    build(QUANT__FUNDAMENTALS__MIN_LAG_DAYS="3")
    assert held(tick(instance)).keys() <= {SECTOR}
    build(QUANT__LABELS__ENTRY_LAG="2")
    why = held(tick(instance))[SECTOR]
    assert why.startswith("labels of 2020-10, 2020-11, 2020-12 … and 4 more is stale (settings labels.entry_lag 1 -> 2")
    assert why.endswith("--select lightgbm_checkpoint --refresh")


def test_every_dataset_of_checkpoints_is_looked_at_and_the_markets_encoders_first(
    build: Set, instance: dg.DagsterInstance
) -> None:
    deep = {"kind": "transformer", "parameters": {"pretraining": {"cadence_months": 3, "window_months": 6}}}
    built = build(QUANT__MODELS=json.dumps(json.loads(ENVIRONMENT["QUANT__MODELS"]) | {"deep": deep}))
    built.inputs()
    built.checkpoints(TRAINED, [*EMPTY, "2021-04"])
    assert [line for line in tick(instance).said() if not line.startswith("not judged")] == [
        "without any checkpoint so far, transformer_pretrained, so not requested: market",
        "nothing is due at the close of 2021-04, lightgbm_checkpoint: energy",
        f"without any checkpoint so far, lightgbm_checkpoint, so not requested: {', '.join(list(SECTORS)[1:])}",
        "without any checkpoint so far, transformer_checkpoint, so not requested: all sectors",
    ]
    market, own = Place("transformer_pretrained", None), Place("transformer_checkpoint", SECTOR)
    nothing = {name: built.profile.datasets[name].empty() for name in ("prices", market.dataset)}
    last = built.profile.last_session()
    built.checkpoints(["2020-12"], EMPTY, dataset=own.dataset, model="deep", kind="transformer")
    built.write(market.dataset, nothing[market.dataset], None, ["2020-12"], last)
    built.write("prices", nothing["prices"], SECTOR, ["2021-02", "2021-03"], date(2021, 3, 15))
    found = tick(instance)
    assert asked(found) == {}
    waits = "waits for prices of energy, 2021-03, which is not up to the close of the month"
    assert found.decision.held[market] == waits
    assert "is missing; quant run -p demo -s energy" in found.decision.held[own], "April has closed: it does not wait"
    # A sector whose prices end in the month before the encoder's is no longer updated once others have a later one.
    built.write("prices", nothing["prices"], SECTOR, month_range(FIRST, "2021-04"), last)
    built.write("prices", nothing["prices"], "it", ["2021-01", "2021-02"], last)
    found = tick(instance)
    assert asked(found) == {"market": (["2021-03"], {"age"}, None)}
    assert found.said()[0].startswith("market 2021-03, transformer_pretrained: requested, attempt 1; age: the pre-")
    # Encoders are due in the months of their own cadence alone.
    built.write(market.dataset, nothing[market.dataset], None, ["2021-03"], last)
    found = tick(instance)
    assert asked(found) == {SECTOR: ([key(SECTOR, "2021-03"), key(SECTOR, "2021-04")], {"age"}, None)}
    (request,) = (each.request for each in found.decision.asked)
    assert request.asset_selection == [dg.AssetKey(own.dataset)]
    others = json.loads(ENVIRONMENT["QUANT__MODELS"])
    build(QUANT__MODELS=json.dumps(others | {"linear": {"kind": "linear", "horizons": [5]}, "deep": deep}))
    assert tick(instance).standings[market].reasons == {}, "the settings of other models have no part in it"
    build(QUANT__MODELS=json.dumps(others | {"deep": deep | {"horizons": [5]}}))
    changed = tick(instance).standings[market].reasons
    assert changed.keys() == {"changed"}
    assert changed["changed"].endswith("since the pre-training of 2021-03")


def test_a_file_that_cannot_be_read_holds_back_its_sector_alone(build: Set, instance: dg.DagsterInstance) -> None:
    built = build()
    for sector in (SECTOR, "it"):
        built.inputs(sector)
        built.checkpoints(TRAINED, EMPTY, sector)
    place = Path(built.profile.store.path(built.profile.datasets[CHECKPOINTS.name], key(SECTOR, "2021-03")))
    place.write_bytes(b"no Parquet")
    found = tick(instance)
    assert list(asked(found)) == ["it"]
    assert any(line.startswith(f"energy: held back: {place} cannot be read") for line in found.said())


def test_runs_in_flight_of_any_origin_hold_a_sector_back(build: Set, instance: dg.DagsterInstance) -> None:
    built = build()
    built.inputs()
    built.checkpoints(TRAINED, EMPTY)
    ui = run(instance, {"dagster/partition": key(SECTOR, "2021-04")}, Status.QUEUED, CHECKPOINTS.name)
    assert held(tick(instance)) == {
        SECTOR: f"run {ui.run_id[:8]} (asked for by a person) is in flight on energy, 2021-04"
    }
    instance.report_run_canceled(ui)
    assert list(asked(tick(instance))) == [SECTOR]
    phase = Phase((CHECKPOINTS.name, "predictions"), "2020-01", "2021-04", ("energy", "materials"))
    command = run(instance, phase.range_tags | {"dagster/backfill": "abc"}, Status.STARTED, *phase.assets)
    assert "(a backfill) is in flight on energy, materials, 2020-01 to 2021-04" in held(tick(instance))[SECTOR]
    instance.report_run_canceled(command)
    # Of what it reads, too; but not of another sector, another month or another asset.
    for tags, assets in (
        ({"dagster/partition": key("it", "2021-04")}, [CHECKPOINTS.name]),
        ({"dagster/partition": key(SECTOR, "2021-05")}, [CHECKPOINTS.name, "labels"]),
        ({"dagster/partition": key(SECTOR, "2021-04")}, ["backtest"]),
    ):
        run(instance, tags, Status.STARTED, *assets)
    assert list(asked(tick(instance))) == [SECTOR]
    upstream = run(instance, {"dagster/partition": key(SECTOR, "2020-12"), ORIGIN: "revise"}, Status.STARTED, "labels")
    assert held(tick(instance)) == {
        SECTOR: f"run {upstream.run_id[:8]} (revise) writes labels that it reads: energy, 2020-12"
    }


def test_a_tick_with_nothing_to_do_takes_little(build: Set, instance: dg.DagsterInstance) -> None:
    """Of all sectors, with everything judged. It reads the newest months alone, however many there are."""
    built = build(QUANT__RETRAINING__IC_MIN_SESSIONS="10")
    for sector in SECTORS:
        built.checkpoints(TRAINED, [*EMPTY, "2021-04"], sector)
        built.forecasts(["2021-04"], "2021-03", right=True, sector=sector)
        built.drift("2021-04", "2021-03", [0.1] * 60, sector)
    taken = []
    for _ in range(2):
        before = time.process_time()
        assert tick(instance).said() == ["nothing is due at the close of 2021-04: all sectors"]
        taken.append(time.process_time() - before)
    assert max(taken) < 2
    assert taken[1] < 1, f"figures are reckoned anew at each tick: {taken}"
