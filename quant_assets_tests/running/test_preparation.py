"""The step that makes an instance ready, twice, and what becomes of the file of an older home."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from quant_assets.dagster_records import limited_pools
from quant_assets.errors import SettingsError
from quant_assets.running import preparation
from quant_assets.running.preparation import Prepared, news, pools_of, prepare, update
from quant_assets.running.queue import SectorQueue
from quant_assets_tests.graph import PROJECT

OLDER = """
telemetry: {enabled: false}
nux: {enabled: false}
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config: {max_concurrent_runs: 5}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QUANT__STORAGE", str(tmp_path / "data"))
    monkeypatch.setenv("QUANT__DAGSTER__STORAGE", "sqlite")
    return tmp_path / "home"


@pytest.mark.slow
def test_it_makes_the_instance_and_limits_pools_and_a_second_time_finds_nothing_to_do(home: Path) -> None:
    assert prepare("demo", {"gpu": 8}) == Prepared(home, True, ("pool gpu: at most 8 steps at a time",))
    assert (home / "history").is_dir(), "with tables"
    before = {path: path.stat().st_mtime_ns for path in home.glob("*.yaml")}
    assert prepare("demo", {"gpu": 8}) == Prepared(home, False, ())
    assert prepare("demo", {"gpu": 2}).said == ("pool gpu: at most 2 steps at a time (before: 8)",)
    assert prepare("demo", {}) == Prepared(home, False, ()), "a limit that nobody gives stays"
    assert {path: path.stat().st_mtime_ns for path in home.glob("*.yaml")} == before
    with dg.DagsterInstance.get() as instance:
        assert limited_pools(instance) == {"gpu": 2}
        assert isinstance(instance.run_coordinator, SectorQueue)
    with pytest.raises(SettingsError, match="pool gpu: 0 steps at a time; give a number from 1 to 1000"):
        prepare("demo", {"gpu": 0})


def test_limits_of_pools_are_read_as_they_are_written() -> None:
    assert pools_of(["gpu=8", "net=1"]) == {"gpu": 8, "net": 1}
    for wrong in ("gpu", "gpu=", "=3", "gpu=-1", "gpu=many"):
        with pytest.raises(SettingsError, match=rf"--pool {wrong} is not the limit of a pool; write --pool gpu=8"):
            pools_of([wrong])


def test_an_older_home_keeps_its_file_is_told_once_what_is_new_and_can_take_it(home: Path) -> None:
    home.mkdir()
    own = f"{OLDER}\nstorage: {{postgres: {{postgres_url: somewhere}}}}\n"
    (home / "dagster.yaml").write_text(own)
    told = news(home, "demo")
    assert told is not None
    assert told.startswith(f"new in {PROJECT}/conf/dagster.yaml and not in {home}/dagster.yaml, which stays as it is: ")
    assert "run_coordinator (another one)" in told
    assert "retention" in told
    assert "storage" not in told
    assert told.endswith("quant instance update --profile demo takes it")
    assert news(home, "demo") is None, "once"
    assert (home / "dagster.yaml").read_text() == own

    assert update("demo").startswith(f"{home}/dagster.yaml is now that of {PROJECT}/conf/dagster.yaml, with its own")
    template = (PROJECT / "conf" / "dagster.yaml").read_text()
    assert (home / "dagster.yaml").read_text().startswith(template)
    found = yaml.safe_load((home / "dagster.yaml").read_text())
    assert found == yaml.safe_load(template) | {"storage": {"postgres": {"postgres_url": "somewhere"}}}
    assert (home / "dagster.yaml.before").read_text() == own
    assert update("demo") == f"{home}/dagster.yaml is up to date with {PROJECT}/conf/dagster.yaml"
    assert (home / "dagster.yaml.before").read_text() == own, "the second time did not replace it"
    assert news(home, "demo") is None


def test_a_changed_template_is_told_again(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = tmp_path / "dagster.yaml"
    shutil.copyfile(PROJECT / "conf" / "dagster.yaml", prepared)
    monkeypatch.setattr(preparation, "dagster_template", lambda: prepared)
    home.mkdir()
    shutil.copyfile(prepared, home / "dagster.yaml")
    assert news(home, "demo") is None, "nothing is new"
    with prepared.open("a") as file:
        file.write("\nsensors: {use_threads: true}\n")
    assert "which stays as it is: sensors; " in (news(home, "demo") or "")


def test_without_an_instance_there_is_nothing_to_update(home: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no Dagster instance in .* yet; quant instance init creates it"):
        update("demo")


@pytest.mark.slow
def test_the_command_prints_the_folder_alone_and_says_the_rest_beside_it(home: Path) -> None:
    command = [sys.executable, "-m", "quant_assets.cli", "instance", "init", "--profile", "demo", "--pool"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run([*command, "gpu=3"], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{home}\n"
    assert "pool gpu: at most 3 steps at a time" in done.stderr
