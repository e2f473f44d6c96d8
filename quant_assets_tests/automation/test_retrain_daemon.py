"""`retrain` in a real daemon with fast ticks: it asks, the run trains, and then it is quiet. And both previews."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status

from quant_assets.automation.moment import Moment
from quant_assets.partitions import key
from quant_assets.planning.plan import Phase
from quant_assets.running.instance import initialise_instance
from quant_assets.running.work import ORIGIN, REASONS
from quant_assets.schemas import CHECKPOINTS
from quant_assets_tests.graph import PROJECT
from quant_assets_tests.synthetic_checkpoints import LEARNT, LEARNT_ENVIRONMENT, Built, closing

pytestmark = pytest.mark.slow

SECONDS = 600  # for what takes a twentieth of it on a machine that is not busy

#: A code location whose sensor looks each time the daemon lets it.
WORKSPACE = """
import dagster as dg

from quant_assets.automation.retrain import retrain_sensor
from quant_assets.graph import build_defs
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings

profile = Profile(load_settings())
defs = dg.Definitions.merge(build_defs(profile), dg.Definitions(sensors=[retrain_sensor(profile, 1)]))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An instance and a storage in which June 2021, a training month, has closed and is not trained."""
    made = tmp_path / "home"
    made.mkdir()
    shutil.copyfile(PROJECT / "conf" / "dagster.yaml", made / "dagster.yaml")
    (tmp_path / "fast_location.py").write_text(WORKSPACE)
    for name, value in (
        LEARNT_ENVIRONMENT
        | {
            "QUANT__STORAGE": str(tmp_path / "storage"),
            "QUANT__DAGSTER__STORAGE": "sqlite",
            "QUANT__AS_OF": f"{closing('2021-06')}",
            "QUANT_PROFILE": "demo",
            "DAGSTER_HOME": str(made),
            "DAGSTER_GRPC_TIMEOUT_SECONDS": str(SECONDS),  # else a launch on a busy machine fails, and waits 15 minutes
            "PYTHONPATH": os.pathsep.join([str(PROJECT), str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
    ).items():
        monkeypatch.setenv(name, value)
    moment = Moment("demo")
    Built(moment).learnt()
    job = moment.defs.resolve_implicit_global_asset_job_def()
    of = job.get_subset(asset_selection={dg.AssetKey(CHECKPOINTS.name)})
    tags = Phase((CHECKPOINTS.name,), "2021-01", "2021-05", (LEARNT,)).range_tags
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        assert of.execute_in_process(instance=instance, tags=tags, run_config=quiet).success
    initialise_instance()
    return made


@pytest.fixture
def daemon(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "dagster._daemon", "run", "-m", "fast_location"]
    with (home.parent / "daemon.log").open("wb") as log:
        made = subprocess.Popen(command, stdout=log, stderr=log, cwd=home.parent, start_new_session=True)
    try:
        yield made
    finally:
        os.killpg(made.pid, signal.SIGTERM)
        try:
            made.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(made.pid, signal.SIGKILL)
            made.wait()


def wait_until(what: str, reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < deadline, f"waited {SECONDS} seconds for {what}"
        time.sleep(1)


def skipped(instance: dg.DagsterInstance) -> list[str]:
    """What the sensor's ticks said that asked for nothing, newest first."""
    for state in instance.all_instigator_state():
        if state.name == "retrain":
            ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
            return [str(tick.skip_reason) for tick in ticks if tick.status.value == "SKIPPED"]
    return []


def test_the_daemon_trains_what_is_due_once_and_then_is_quiet(home: Path, daemon: subprocess.Popen[bytes]) -> None:
    quiet = f"nothing is due at the close of 2021-06: {LEARNT}"
    with dg.DagsterInstance.get() as instance:
        wait_until("the training", lambda: instance.get_runs(dg.RunsFilter(statuses=[Status.SUCCESS, Status.FAILURE])))
        wait_until("two quiet ticks", lambda: sum(each.startswith(quiet) for each in skipped(instance)) >= 2)
        (run,) = instance.get_runs()
    assert run.status == Status.SUCCESS
    assert run.tags["dagster/partition"] == key(LEARNT, "2021-06")
    assert run.tags["dagster/sensor_name"] == "retrain"
    assert run.tags[ORIGIN] == "retrain"
    assert run.tags[REASONS].startswith("age: the training of 2021-06 is due, the newest is of 2021-03")
    rows = Moment("demo").profile.store.read(CHECKPOINTS, [key(LEARNT, "2021-06")]).collect()
    assert (rows["status"].to_list(), rows["as_of"].to_list()) == (["trained"], [closing("2021-06")])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        pytest.param(
            ["quant_assets.cli", "sensors", "preview", "retrain"],
            [
                f"{LEARNT} 2021-06: requested, attempt 1; age: the training of 2021-06 is due",
                f"would request retrain:{CHECKPOINTS.name}:it:",
                "quant/reasons",
            ],
            id="quant",
        ),
        pytest.param(
            ["dagster", "sensor", "preview", "retrain", "-m", "quant_assets.definitions"],
            ["Sensor returning run requests for 1 run(s)"],
            id="dagster",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_a_preview_asks_for_nothing_and_writes_nothing(home: Path, command: list[str], said: list[str]) -> None:
    def files() -> dict[str, bytes]:
        found = (path for path in home.parent.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        # SQLite's own files of a database that is open come and go; Dagster keeps what a tick logs.
        own = (path for path in found if path.suffix not in (".db-shm", ".db-wal"))
        return {str(path): path.read_bytes() for path in own if "__repository__" not in path.parts}

    before = files()
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert [each for each in said if each not in done.stdout] == []
    if command[0] == "quant_assets.cli":
        assert done.stderr == ""
    assert files() == before
    with dg.DagsterInstance.get() as instance:
        assert instance.get_runs() == []
