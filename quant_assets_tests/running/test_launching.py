"""Plans through the instance's queue: a real daemon and its code server execute them, this process follows."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import psutil
import pytest
from dagster import DagsterRunStatus as Status

from quant_assets import dagster_internals as internals
from quant_assets.dagster_records import queue_heartbeat
from quant_assets.errors import SettingsError
from quant_assets.graph import build_defs
from quant_assets.market.calendar import sessions
from quant_assets.planning.plan import Phase
from quant_assets.profile import Profile
from quant_assets.running import launching
from quant_assets.running.execute import RunFailedError
from quant_assets.running.launching import CODE_LOCATION, PHASE_TAG, Submitted
from quant_assets.schemas import DATASETS
from quant_assets.settings.loading import load_settings
from quant_assets_tests.graph import PROJECT

pytestmark = pytest.mark.slow

FIRST, LAST = "2023-12", "2024-06"
AS_OF = date(2024, 6, 28)
SECONDS = 240  # for what takes a fraction of it on a machine that is not busy


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """The demo profile with a storage and an instance of its own; trainings go to a process of their own and take
    long."""
    for name, value in {
        "QUANT__STORAGE": str(tmp_path / "storage"),
        "QUANT__DAGSTER__STORAGE": "sqlite",
        "QUANT__AS_OF": f"{AS_OF}",
        "QUANT__PARTITIONS__START": FIRST,
        "QUANT__LAUNCH__KIND": "subprocess",
        "QUANT__TRAINING__WINDOW_MONTHS": "6",
        "QUANT__TRAINING__MIN_ROWS": "100",
        "QUANT__MODELS": '{"lightgbm": {"kind": "lightgbm", "parameters": '
        '{"num_trees": 10000000, "early_stopping_rounds": 10000000, "min_data_in_leaf": 10}}}',
        "QUANT_PROFILE": "demo",
        "DAGSTER_HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "home").mkdir()
    shutil.copyfile(PROJECT / "conf" / "dagster.yaml", tmp_path / "home" / "dagster.yaml")
    return Profile(load_settings("demo"))


@pytest.fixture
def instance(profile: Profile) -> Iterator[dg.DagsterInstance]:
    launching.initialise_instance()
    with dg.DagsterInstance.get() as found:
        yield found


def heartbeat(instance: dg.DagsterInstance, seconds_ago: float = 0) -> None:
    """What a daemon writes that serves the queue."""
    from dagster._daemon.types import DaemonHeartbeat

    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - seconds_ago, "QUEUED_RUN_COORDINATOR", "test", []))


def wait_until(what: str, reached: object, *arguments: object) -> object:
    assert callable(reached)
    deadline = time.monotonic() + SECONDS
    while not (found := reached(*arguments)):
        assert time.monotonic() < deadline, f"waited {SECONDS} seconds for {what}"
        time.sleep(0.3)
    return found


def test_without_a_daemon_it_is_said_what_to_start(profile: Profile, instance: dg.DagsterInstance) -> None:
    defs = build_defs(profile.settings)
    with pytest.raises(
        SettingsError,
        match=r"^no daemon of the instance in .*home has run yet, so .*; start one with 'make ui' .*--submit",
    ):
        Submitted(defs)
    heartbeat(instance, 500)
    with pytest.raises(SettingsError, match=r"no daemon .* has been alive for 50\d seconds"):
        Submitted(defs)
    heartbeat(instance)
    Submitted(defs)
    config = Path(os.environ["DAGSTER_HOME"], "dagster.yaml")
    config.write_text(
        "run_coordinator: {module: dagster._core.run_coordinator.sync_in_memory_run_coordinator, "
        "class: SyncInMemoryRunCoordinator}\n"
    )
    with pytest.raises(SettingsError, match=r"has no queue of runs; remove run_coordinator from its dagster.yaml"):
        Submitted(defs)


def test_a_daemon_that_goes_away_ends_the_following_and_the_runs_are_found_again(
    profile: Profile, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "_DAEMON_PERIOD", 0.0)
    heartbeat(instance)
    executor = Submitted(build_defs(profile.settings))
    heartbeat(instance, 1000)
    chains = [[Phase(("fundamentals",), LAST, LAST, (sector,))] for sector in ("energy", "it")]
    for _ in range(2):
        with pytest.raises(RunFailedError, match=r"no daemon .*; the runs stay in the queue, and the same command"):
            executor.execute(chains, lambda *_: None)
        runs = instance.get_runs()
        assert [run.status for run in runs] == [Status.QUEUED] * 2, "the second time follows the runs of the first"
    instance.report_run_canceled(runs[0])
    instance.delete_run(runs[1].run_id)
    monkeypatch.setattr(executor, "_begun", lambda instance, chain: launching._Followed(chain, "gone"))
    heartbeat(instance)
    with pytest.raises(RunFailedError, match=r"^fundamentals \(it, 2024-06 to 2024-06\): run gone was deleted"):
        executor.execute(chains[1:], lambda *_: None)


def test_an_interruption_leaves_no_run_between_its_making_and_the_queue(
    profile: Profile, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat(instance)
    executor = Submitted(build_defs(profile.settings))
    chain = (Phase(("fundamentals",), LAST, LAST, ("it",)),)
    submit = instance.submit_run

    def interrupted(*given: object, **named: object) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return submit(*given, **named)

    monkeypatch.setattr(instance, "submit_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        executor._begun(instance, chain)
    (run,) = instance.get_runs()
    assert run.status == Status.QUEUED

    # Killed there, it leaves one; the same command puts that into the queue.
    monkeypatch.setattr(instance, "submit_run", lambda *_, **__: 1 / 0)
    killed = (Phase(("fundamentals",), LAST, LAST, ("energy",)),)
    with pytest.raises(ZeroDivisionError):
        executor._begun(instance, killed)
    monkeypatch.setattr(instance, "submit_run", submit)
    (left,) = instance.get_runs(dg.RunsFilter(statuses=[Status.NOT_STARTED]))
    assert executor._begun(instance, killed).run_id == left.run_id
    assert [each.status for each in instance.get_runs()] == [Status.QUEUED] * 2


def test_a_run_that_is_tried_again_is_followed_to_its_next_attempt(
    profile: Profile, instance: dg.DagsterInstance
) -> None:
    """As the daemon's run_retries does: the tag comes with the failure, the next run later."""
    heartbeat(instance)
    executor = Submitted(build_defs(profile.settings))
    phase = Phase(("fundamentals",), LAST, LAST, ("it",))
    failed: list[str] = []

    def daemon() -> None:
        first = wait_until("the run", instance.get_runs, dg.RunsFilter(statuses=[Status.QUEUED]))[0]
        instance.add_run_tags(first.run_id, {"dagster/will_retry": "true"})
        instance.report_run_failed(first, "its process died")
        time.sleep(3)
        last = {**phase.range_tags, "dagster/max_retries": "0"}  # else the instance's run_retries would try it again
        again = internals.submit_assets(instance, executor._job, phase.assets, CODE_LOCATION, last)
        instance.add_run_tags(first.run_id, {"dagster/auto_retry_run_id": again})
        time.sleep(3)
        instance.report_run_failed(instance.get_run_by_id(again), "its process\ndied again")
        failed.append(again)

    thread = threading.Thread(target=daemon)
    thread.start()
    with pytest.raises(RunFailedError) as caught:
        executor.execute([[phase]], lambda *_: None)
    thread.join()
    assert str(caught.value) == (
        f"fundamentals (it, {LAST}): its process died again (unexpected; see run {failed[0]} in the web UI)"
    )


@pytest.fixture
def daemon(instance: dg.DagsterInstance, tmp_path: Path) -> Iterator[psutil.Popen]:
    """`dagster-daemon` with its code server, alive."""
    program = str(Path(sys.executable).parent / "dagster-daemon")
    with (tmp_path / "daemon.log").open("wb") as log:
        server = psutil.Popen(
            [program, "run", "-m", CODE_LOCATION],
            cwd=PROJECT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until("the daemon's first heartbeat", lambda: queue_heartbeat(instance) or server.poll())
            assert server.poll() is None, (tmp_path / "daemon.log").read_text()[-3000:]
            yield server
        finally:
            left = [server, *server.children(recursive=True)]
            os.killpg(server.pid, signal.SIGINT)
            for each in psutil.wait_procs(left, 30)[1]:
                each.kill()
            psutil.wait_procs(left, 30)


def training_inputs(profile: Profile) -> None:
    """Features and labels of a sector by chance, so that nothing upstream need be computed."""
    days, rng = sessions(date(2023, 12, 1), AS_OF), np.random.default_rng(1)
    months = [f"{FIRST[:4]}-12", *(f"2024-{month:02d}" for month in range(1, 7))]
    keys = pl.DataFrame({"ticker": [f"T{place:02d}" for place in range(20)]}).join(
        pl.DataFrame({"date": pl.Series(days, dtype=pl.Date)}), how="cross"
    )
    keys = keys.with_columns(sector=pl.lit("it"))
    known = dict(zip(days[:-2].tolist(), days[2:].tolist(), strict=True))
    given = {
        "features": keys.with_columns(
            **{name: pl.Series(rng.normal(size=len(keys))) for name in profile.features.names}
        ),
        "labels": keys.filter(pl.col("date").is_in(list(known))).with_columns(
            known_at=pl.col("date").replace_strict(known), forward_return=0.01, horizon=1, delisted=False
        ),
    }
    given["labels"] = given["labels"].with_columns(
        forward_return=pl.Series(rng.normal(size=len(given["labels"])) * 0.01),
        entry_date=pl.col("known_at"),
        exit_date=pl.col("known_at"),
    )
    for name, frame in given.items():
        schema = {**profile.datasets[name].schema, "sector": pl.String()}
        rows = frame.select(
            pl.col(column).cast(dtype) if column in frame.columns else pl.lit(None, dtype).alias(column)
            for column, dtype in schema.items()
        )
        profile.store.write(profile.datasets[name], rows, [f"{month}|it" for month in months], lambda _: AS_OF)


def trainer(of: psutil.Process) -> psutil.Process | None:
    """The process of a training below the daemon."""
    for each in of.children(recursive=True):
        try:
            if each.cmdline()[1:3] == ["-m", "quant_assets.runtime.worker"] and each.cpu_times().user > 1:
                return each
        except psutil.Error:
            continue
    return None


@pytest.mark.slow
@pytest.mark.nightly
def test_chains_go_through_the_queue_and_trainings_end_with_their_runs(
    profile: Profile, instance: dg.DagsterInstance, daemon: psutil.Popen
) -> None:
    """One daemon serves all of it: its start is what takes long."""
    executor = Submitted(build_defs(profile.settings))

    # Chains in order and beside each other; one that fails does not stop the others, nor one sector of a run the rest.
    for month in ("2024-05", LAST):
        for sector in ("energy", "materials", "it"):
            profile.store.write(DATASETS["ohlcv"], DATASETS["ohlcv"].empty(), [f"{month}|{sector}"])
    spoiled = Path(profile.store.path(DATASETS["ohlcv"], f"{LAST}|energy"))
    spoiled.write_bytes(b"PAR1 cut short")
    sectors = ("energy", "materials")
    counted: list[tuple[str, int]] = []
    with pytest.raises(RunFailedError) as caught:
        executor.execute(
            [
                [Phase((name,), "2024-05", LAST, sectors) for name in ("fundamentals", "prices")],
                [Phase((name,), "2024-05", LAST, ("it",)) for name in ("fundamentals", "prices")],
                [],
            ],
            lambda *each: counted.append(each),
        )
    message = str(caught.value)
    assert message.startswith(f"prices (energy, 2024-05 to {LAST}): {spoiled} cannot be read")
    assert "\n" not in message
    assert profile.store.existing(DATASETS["prices"]) == {
        f"{month}|{sector}" for month in ("2024-05", LAST) for sector in ("materials", "it")
    }
    written = {name: sum(count for each, count in counted if each == name) for name, _ in counted}
    assert written == {"fundamentals": 6, "prices": 4}
    runs = instance.get_run_records(ascending=True)
    assert sorted(each.dagster_run.status.value for each in runs) == ["FAILURE"] * 2 + ["SUCCESS"] * 4
    assert all(each.dagster_run.tags.get(PHASE_TAG) for each in runs)
    both = [each for each in runs if each.dagster_run.tags["dagster/asset_partition_range_end"] == f"{LAST}|it"]
    assert both[0].end_time <= both[1].create_timestamp.timestamp() + 1, "a phase waits for the one before it"
    assert instance.get_materialized_partitions(dg.AssetKey("prices")) == profile.store.existing(DATASETS["prices"])

    # A training in a process of its own: the run is cancelled, and the process is gone.
    training_inputs(profile)
    plan = [[Phase(("lightgbm_checkpoint",), LAST, LAST, ("it",))]]
    for end, said in (
        (
            lambda run, process: instance.run_launcher.terminate(run.run_id),
            rf"^lightgbm_checkpoint \(it, {LAST} to {LAST}\): run \S+ was cancelled in the web UI$",
        ),
        (
            lambda run, process: process.kill(),
            rf"^lightgbm_checkpoint \(it, {LAST}\): the process of quant_assets.assets.training_unit:train_unit was "
            r"killed by SIGKILL, perhaps out of memory; no results were kept: materialise again$",
        ),
    ):
        failed: list[str] = []

        def follow(failed: list[str] = failed) -> None:
            try:
                executor.execute(plan, lambda *_: None)
            except RunFailedError as error:
                failed.append(str(error))

        thread = threading.Thread(target=follow)
        thread.start()
        process = wait_until("the training", trainer, daemon)
        (run,) = instance.get_runs(dg.RunsFilter(statuses=[Status.STARTED]))
        end(run, process)
        assert not psutil.wait_procs([process], 15)[1]
        thread.join(SECONDS)
        assert len(failed) == 1
        assert re.match(said, failed[0]), failed[0]
    assert not profile.store.existing(profile.datasets["lightgbm_checkpoint"])

    # The command: interrupted it says how to go on, and the run goes on without it.
    command = [sys.executable, "-m", "quant_assets.cli", "run", "-s", "utilities", "--from", LAST, "--to", LAST]
    command += ["--select", "fundamentals", "--submit"]
    said_here = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    queued = dg.RunsFilter(tags={"dagster/asset_partition_range_end": f"{LAST}|utilities"})
    wait_until("the command's run", lambda: instance.get_runs(queued) or said_here.poll() is not None)
    said_here.send_signal(signal.SIGINT)
    output, _ = said_here.communicate(timeout=SECONDS)
    assert said_here.returncode != 0
    assert "the same command follows them again" in " ".join(output.split()), output
    wait_until("its end", lambda: instance.get_runs(queued)[0].is_finished)
    (run,) = instance.get_runs(queued)
    assert run.status == Status.SUCCESS
    assert profile.store.existing(DATASETS["fundamentals"]) >= {f"{LAST}|utilities"}
