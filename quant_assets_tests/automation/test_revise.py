"""`revise` on an ephemeral instance: which changes of a file are revisions, and which partitions are computed again."""

import json
import shutil
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.automation import revise
from quant_assets.automation.moment import Moment
from quant_assets.automation.revise import LOOK, REVISION, revise_job, tick
from quant_assets.automation.revised import Provided
from quant_assets.automation.revision_state import RevisionState
from quant_assets.planning.plan import Phase
from quant_assets.profile import Profile
from quant_assets.running.work import ORIGIN, TRIGGER, attempts
from quant_assets.settings.loading import load_settings
from quant_assets_tests.graph import Graph
from quant_assets_tests.synthetic_automation import (
    AS_OF,
    ASSETS,
    FIRST,
    SECTORS,
    partitions,
    select_profile,
    write_bars,
    write_members,
    write_profile,
)

pytestmark = pytest.mark.slow

DAY = date(2024, 3, 12)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine months of two sectors, of which the last is running, looked into once."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        write_profile(folder)
        select_profile(folder, patch)
        graph = Graph(load_settings("own"))
        for phase in graph.planner.plan(ASSETS, SECTORS, FIRST, f"{AS_OF:%Y-%m}").phases:
            graph.materialise(phase.assets, tags=phase.range_tags)
        with dg.DagsterInstance.ephemeral() as instance:
            assert looked(instance).success
            assert not instance.get_backfills(), "the first look finds what is stored as the files give it"
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, whose profile is selected; the folder of the files."""
    shutil.copytree(made, tmp_path / "own")
    select_profile(tmp_path / "own", monkeypatch)
    return tmp_path / "own" / "data"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def looked(instance: dg.DagsterInstance, **tags: str) -> dg.ExecuteInProcessResult:
    return revise_job().execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def asked(instance: dg.DagsterInstance) -> dict[str, list[str]]:
    """Partitions of the only backfill, by asset."""
    (backfill,) = instance.get_backfills()
    graph = Graph(load_settings("own")).defs.resolve_asset_graph()
    subset = backfill.get_asset_backfill_data(graph).target_subset
    found: dict[str, list[str]] = {}
    for each in subset.iterate_asset_partitions():
        found.setdefault(each.asset_key.path[-1], []).append(str(each.partition_key))
    return {name: partitions(keys) for name, keys in found.items()}


def test_a_changed_bar_leads_to_exactly_what_reads_it_and_appended_ones_to_nothing(
    own: Path, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = tick(Moment(), instance, time.time())
    assert isinstance(request, dg.RunRequest)
    before = RevisionState.of(Moment().profile.store)
    assert looked(instance, **request.tags).success
    assert not instance.get_backfills(), "copied files have other states, and the same content"
    assert RevisionState.of(Moment().profile.store) == before
    quiet = tick(Moment(), instance, time.time())
    assert isinstance(quiet, dg.SkipReason)
    assert quiet.skip_message.startswith("no file has changed since run ")

    write_bars(own, "ENA", date(2024, 6, 17))
    write_bars(own, "ITA", scale={date(2024, 6, 5): 1.02})
    assert looked(instance).success
    assert not instance.get_backfills(), "days of the running month are the daily run's"

    write_bars(own, "ITA")
    write_bars(own, "ITB", scale={DAY: 1.03})
    assert isinstance(tick(Moment(), instance, time.time()), dg.RunRequest)
    result = looked(instance)
    assert result.success
    (backfill,) = instance.get_backfills()
    assert backfill.title == "1 revised: it 2024-03 (ITB)"
    assert backfill.tags[REVISION] == backfill.backfill_id
    assert instance.get_run_by_id(result.run_id).tags[REVISION] == backfill.backfill_id
    found = asked(instance)
    # What one step makes is made together; prices read their month, labels look four months ahead, regimes back.
    bars = {"ohlcv", "quarantine", "price_events", "price_disagreements", "price_peaks", "absences", "delistings"}
    assert {name: found[name] for name in bars} == {name: ["it 2024-03..2024-03 1"] for name in bars}
    assert found["prices"] == ["it 2024-03..2024-03 1"]
    assert found["labels"] == ["it 2023-11..2024-03 5"]
    assert found["regime_state"] == ["it 2024-03..2024-06 4"]
    assert found.keys() == {*bars, "prices", "labels", "regime_state"}
    waits = tick(Moment(), instance, time.time())
    assert isinstance(waits, dg.SkipReason)
    assert waits.skip_message.startswith(f"waits for 1 backfills, first {backfill.backfill_id}")
    write_bars(own, "ITC", date(2024, 6, 17))
    assert looked(instance).success
    assert len(instance.get_backfills()) == 1, "the same change is not asked for twice"

    graph = Graph(load_settings("own"))
    for name in graph.planner.order:
        for each in found.get(name, ()):
            sector, months, _ = each.split()
            first, last = months.split("..")
            if name == "ohlcv" or name not in bars:
                names = sorted(bars) if name == "ohlcv" else [name]
                graph.materialise(names, tags=Phase(tuple(names), first, last, (sector,)).range_tags)
    monkeypatch.setenv("QUANT__STORAGE", str(tmp_path / "fresh"))
    fresh = Graph(load_settings("own"))
    for phase in fresh.planner.plan(ASSETS, SECTORS, FIRST, "2024-05").phases:
        fresh.materialise(phase.assets, tags=phase.range_tags)
    for name in ASSETS:
        dataset = fresh.datasets[name]
        for each in fresh.profile.store.existing(dataset):
            given, wanted = (one.profile.store.recorded(dataset, each).content for one in (graph, fresh))
            assert given == wanted, (name, each)


def test_an_end_at_any_point_leads_to_one_backfill(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bars(own, "ITB", scale={DAY: 1.03})
    write_bars(own, "ENA", scale={date(2024, 4, 2): 0.97})

    class EndedError(Exception):
        """Stands for a process that dies."""

    def ended_at(number: int, instance: dg.DagsterInstance) -> bool:
        """A look that ends before or after one of what it stores and asks for; whether it came so far."""
        count, ask, keep = 0, revise.request_backfill, RevisionState.keep

        def step() -> None:
            nonlocal count
            if count == number:
                raise EndedError
            count += 1

        def asked_for(*given: object, **told: object) -> bool:
            step()
            done = ask(*given, **told)  # type: ignore[arg-type]
            step()
            return done

        def kept(state: RevisionState, where: object) -> None:
            step()
            keep(state, where)  # type: ignore[arg-type]
            step()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(revise, "request_backfill", asked_for)
            patch.setattr(RevisionState, "keep", kept)
            return not looked(instance).success

    store = Profile(load_settings("own")).store
    with dg.DagsterInstance.ephemeral() as instance:
        assert ended_at(3, instance), "what it has found in the second sector is stored"
        assert not instance.get_backfills()
    # From here on nothing is computed again.
    monkeypatch.setattr(Provided, "compared", lambda *_: pytest.fail("a sector was compared again"))
    names, ends = set(), 0
    while True:
        copy = Path(store.url).with_name(f"end-{ends}")
        shutil.copytree(store.url, copy / "own")
        monkeypatch.setenv("QUANT__STORAGE", str(copy))
        with dg.DagsterInstance.ephemeral() as instance:
            ended = ended_at(ends, instance)
            assert looked(instance).success
            (backfill,) = instance.get_backfills()
            names.add((backfill.backfill_id, backfill.title))
            kept = json.loads((copy / "own/artifacts/revisions/state.json").read_text())
            assert kept["pending"] == ""
            assert kept["decided"]["ohlcv"]["2024-03|it"][0] == backfill.backfill_id
            assert kept["looking"] == {}
        shutil.rmtree(copy)
        if not ended:
            break
        ends += 1
    assert ends == 6, "the revision is stored, the backfill asked for, the end stored: before and after each"
    ((_, title),) = names
    # Two bars, and what May carries on of the lower one.
    assert title == "3 revised: energy, it 2024-03 to 2024-05 (ENA, ITB)"


def test_what_is_old_is_reported_once_and_members_are_looked_at(
    own: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT__REVISIONS__RECOMPUTE_MONTHS", "2")
    write_members(own, {"ITC": "2024-01-17"})  # in the index since January only
    first = looked(instance)
    assert first.success
    assert not instance.get_backfills()
    page = instance.fetch_observations(dg.AssetKey("universe"), limit=5).records
    assert len(page) == 1
    observed = page[0].asset_observation
    assert observed is not None
    shown = str(observed.metadata["revised_list"].value)
    assert "- 2023-10|it: ITC" in shown
    assert "2024-02|it" not in shown

    write_members(own, {"ITC": "2024-01-17", "ENC": "2024-04-17"})
    assert looked(instance).success
    assert len(instance.fetch_observations(dg.AssetKey("universe"), limit=5).records) == 2
    found = asked(instance)
    assert found["universe"] == ["energy 2024-04..2024-04 1"], "what is older is reported: October to March"
    assert "2023-10|energy" in str(RevisionState.of(Moment().profile.store).decided["universe"])
    write_bars(own, "ENB", date(2024, 6, 17))
    write_members(own, {"ITC": "2024-01-17", "ENC": "2024-04-17", "ENB": "2019-01-02"})
    assert looked(instance).success
    assert len(instance.fetch_observations(dg.AssetKey("universe"), limit=5).records) == 2, "reported once"


def test_a_tick_waits_gives_up_and_tells_why(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time() + 100
    with dg.DagsterInstance.ephemeral() as instance:

        def told(at: float) -> str:
            found = tick(Moment(), instance, at)
            return found.run_key or "" if isinstance(found, dg.RunRequest) else found.skip_message or ""

        monkeypatch.setenv("QUANT__REVISIONS__SETTLE_MINUTES", "10")
        path = write_bars(own, "ITA")
        assert "ITA.csv changed 2 minutes ago; waits until it has not for 10" in told(path.stat().st_mtime + 100)
        assert told(path.stat().st_mtime + 601).startswith("revise:")
        monkeypatch.setenv("QUANT__REVISIONS__SETTLE_MINUTES", "0")
        keys, at = [], now
        for number in range(4):
            request = tick(Moment(), instance, at)
            assert isinstance(request, dg.RunRequest)
            keys.append(request.run_key)
            run = instance.create_run_for_job(revise_job(), tags=request.tags, status=dg.DagsterRunStatus.STARTED)
            assert told(at) == f"run {run.run_id} looks into the files"
            instance.report_run_failed(run, "its process died")
            ended = attempts(instance, {ORIGIN: LOOK})[-1].ended
            assert ended is not None
            if number < 3:
                assert told(ended + 1).endswith(f"failed; again in {15 * 2**number} minutes")
                at = ended + 60 * 15 * 2**number + 1
        assert len(set(keys)) == 4
        assert told(now + 1e6).startswith("the files could not be looked into 4 times")
        write_bars(own, "ITA", scale={DAY: 1.5})
        request = tick(Moment(), instance, now)
        assert isinstance(request, dg.RunRequest), "files that have changed are looked into at once"
        assert request.tags[ORIGIN] == LOOK
        busy = instance.create_run_for_job(revise_job(), tags={"dagster/partition": "2024-06|it"})
        assert told(now) == f"waits for 1 runs in flight, first {busy.run_id} (it, 2024-06)"
        instance.delete_run(busy.run_id)
        cancelled = instance.create_run_for_job(revise_job(), tags=request.tags, status=dg.DagsterRunStatus.STARTED)
        instance.report_run_canceled(cancelled)
        assert "was cancelled; the next change of a file is looked into" in told(now + 1e6)
        assert request.tags[TRIGGER] != ""
        write_bars(own, "ITA")
        monkeypatch.setenv("QUANT__AS_OF", "2024-06-17")
        assert told(now) == "waits for the day's run: universe 2024-06|energy does not include 2024-06-17 yet"


def test_a_file_that_changes_meanwhile_decides_nothing(
    own: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bars(own, "ITB", scale={DAY: 1.03})
    refuse = Provided.refuse_changed

    def changes(provided: Provided) -> None:
        write_bars(own, "ITB")
        refuse(provided)

    monkeypatch.setattr(Provided, "refuse_changed", changes)
    result = looked(instance)
    assert not result.success
    failed = next(event for event in result.all_events if event.is_step_failure)
    assert "ITB.csv changed while it was looked into; nothing was decided" in str(failed.step_failure_data.error)
    monkeypatch.undo()
