"""`revise` in a real daemon: a file is changed, and the instance's records and the storage tell what follows."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import TypeVar

import dagster as dg
import psutil
import pytest

from quant_assets.automation.freshness import CHECK
from quant_assets.automation.revise import BACKFILL, LOOK, REVISION
from quant_assets.running.instance import dagster_home, initialise_instance
from quant_assets.running.work import CODE_LOCATION, ORIGIN
from quant_assets.settings.loading import load_settings
from quant_assets_tests.automation.quarter import same_partition
from quant_assets_tests.graph import PROJECT, Graph
from quant_assets_tests.synthetic_automation import (
    AS_OF,
    ASSETS,
    FIRST,
    SECTORS,
    partitions,
    select_profile,
    write_bars,
    write_profile,
)
from quant_assets_tests.web_pages import BROWSER, browser_page, served

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

DAGSTER_WEBSERVER = Path(sys.executable).parent / "dagster-webserver"
SECONDS = 900  # for what takes a fraction of it on a machine that is not busy


T = TypeVar("T")


def wait_until(what: str, reached: Callable[[], T]) -> T:
    deadline = time.monotonic() + SECONDS
    while not (found := reached()):
        assert time.monotonic() < deadline, f"waited {SECONDS} seconds for {what}"
        time.sleep(0.5)
    return found


def materialise(graph: Graph) -> None:
    for phase in graph.planner.plan(ASSETS, SECTORS, FIRST, f"{AS_OF:%Y-%m}").phases:
        graph.materialise(phase.assets, tags=phase.range_tags)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nine months of a profile whose sensors are on by themselves, as those of `demo` are."""
    found = write_profile(tmp_path, "demo", freshness={"assets": ["ohlcv"], "tick_seconds": 1})
    select_profile(tmp_path, monkeypatch, "demo")
    materialise(Graph(load_settings("demo")))
    return found


@pytest.fixture
def instance(data: Path, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """With a daemon and its code server."""
    dagster_home("demo")
    initialise_instance()
    program = str(Path(sys.executable).parent / "dagster-daemon")
    with (tmp_path / "daemon.log").open("wb") as log, dg.DagsterInstance.get() as found:
        server = psutil.Popen(
            [program, "run", "-m", CODE_LOCATION],
            cwd=PROJECT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield found
        finally:
            left = [server, *server.children(recursive=True)]
            os.killpg(server.pid, signal.SIGINT)
            for each in psutil.wait_procs(left, 30)[1]:
                each.kill()
            psutil.wait_procs(left, 30)


def ended(instance: dg.DagsterInstance, origin: str) -> list[dg.DagsterRun]:
    """Runs of an origin, if all of them have ended."""
    runs = instance.get_runs(dg.RunsFilter(tags={ORIGIN: origin}))
    return list(runs) if all(each.is_finished for each in runs) else []


def said(instance: dg.DagsterInstance) -> str:
    """What the newest tick of `revise` says."""
    (state,) = [each for each in instance.all_instigator_state() if each.name == "revise"]
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    return (ticks[0].skip_reason or "") if ticks else ""


def pages_say_why(url: str, folder: Path, backfill: str, run: dg.DagsterRun, looked: str) -> None:
    """What a person sees who asks what ran, and why; pictures are left in the folder."""
    own, names = "/locations/quant_assets.definitions", ("freshness", "on_failure", "retrain", "revise")
    with browser_page() as page:

        def shows(picture: str, *texts: str) -> None:
            try:
                for text in texts:
                    page.get_by_text(text).first.wait_for()
            finally:
                page.screenshot(path=folder / f"{picture}.png")

        page.goto(f"{url}/automation")
        shows("automation", "after_close", "before_open", *names)
        page.goto(f"{url}{own}/schedules/after_close")
        shows("schedule", "After each session's close it has the running month computed", "30 17 * * 1-5")
        page.goto(f"{url}{own}/sensors/revise")
        shows("sensor", "When a provider's file changes: looks which months that are over it changes")
        page.locator("table a, table button").filter(has_text="0 runs requested").first.click()
        shows("tick", f"no file has changed since run {looked} looked into them")
        page.goto(f"{url}/runs?view=backfills")
        shows("backfills", "quant/reasons: 1 revised: it 2024-03 (ITB)")
        page.goto(f"{url}/runs/b/{backfill}")
        shows("backfill", "regime_state", "100% completed", "Succeeded")
        page.goto(f"{url}/runs/{run.run_id}")
        page.get_by_text("View tags and config").first.click()
        shows("run", "quant/origin", "revision", "1 revised: it 2024-03 (ITB)", backfill)


def test_one_changed_bar_leads_to_one_titled_backfill_and_then_to_nothing(
    data: Path, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = wait_until("the first look", lambda: ended(instance, LOOK))
    assert first.status == dg.DagsterRunStatus.SUCCESS
    assert not instance.get_backfills()
    wait_until("a quiet tick", lambda: said(instance).startswith(f"no file has changed since run {first.run_id}"))
    key = dg.AssetCheckKey(dg.AssetKey("ohlcv"), CHECK)
    history = instance.event_log_storage.get_asset_check_execution_history
    checked = wait_until("freshness", lambda: history(key, limit=50))
    assert {each.status.value for each in checked} == {"SUCCEEDED"}

    write_bars(data, "ITB", scale={date(2024, 3, 12): 1.03})
    (backfill,) = wait_until("the backfill", instance.get_backfills)
    assert backfill.title == "1 revised: it 2024-03 (ITB)"
    wait_until("its end", lambda: instance.get_backfill(backfill.backfill_id).status.value == "COMPLETED_SUCCESS")
    runs = ended(instance, BACKFILL)
    assert {each.tags[REVISION] for each in runs} == {backfill.backfill_id}
    written: dict[str, list[str]] = {}
    for run in runs:
        found = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        for record in found.records:
            written.setdefault(record.asset_key.path[-1], []).append(record.partition_key)
    bars = {"ohlcv", "quarantine", "price_events", "price_disagreements", "price_peaks", "absences", "delistings"}
    assert {name: partitions(keys) for name, keys in written.items()} == {
        **{name: ["it 2024-03..2024-03 1"] for name in (*bars, "prices")},
        "labels": ["it 2023-11..2024-03 5"],
        "regime_state": ["it 2024-03..2024-06 4"],
    }

    wait_until("quiet", lambda: said(instance).startswith("no file has changed since run "))
    newest = ended(instance, LOOK)
    assert len(newest) == 2
    assert len(instance.get_backfills()) == 1
    of_sensor = [each for each in history(key, limit=50) if not each.run_id]  # a run evaluates the check, too
    assert len(of_sensor) == len(checked), "said once a session"
    if BROWSER is not None:
        # Its code has the schedules too. The daemon's has none: they would ask at their hour.
        live = {"QUANT__LIVE__GO_LIVE": str(AS_OF)}
        with served([str(DAGSTER_WEBSERVER), "-m", CODE_LOCATION], tmp_path / "web.log", live) as url:
            pages_say_why(url, tmp_path, backfill.backfill_id, runs[0], newest[0].run_id)
    stored = Graph(load_settings("demo"))
    monkeypatch.setenv("QUANT__STORAGE", str(tmp_path / "fresh"))
    fresh = Graph(load_settings("demo"))
    materialise(fresh)
    for name in ASSETS:
        dataset = fresh.datasets[name]
        for each in fresh.profile.store.existing(dataset):
            paths = [Path(of.profile.store.path(dataset, each)) for of in (stored, fresh)]
            assert same_partition(*paths), (name, each)
