"""An instance keeps the records of one storage, whoever starts the run, and each storage has an instance of its own."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.errors import SettingsError
from quant_assets.io import binding
from quant_assets.io.binding import RECORD, bind, bound_to
from quant_assets.planning.plan import Phase
from quant_assets.running import instance as running
from quant_assets.running.execute import RunFailedError, execute
from quant_assets.running.instance import dagster_home, existing_instance, home_of
from quant_assets.settings.loading import load_settings
from quant_assets.settings.origin import ROOT
from quant_assets_tests.graph import PROJECT
from quant_assets_tests.tcp_postgres import free_port


@pytest.fixture(autouse=True)
def _no_instance_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dagster_home` sets it for the process; each test begins without and leaves none."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("QUANT__DAGSTER__STORAGE", "sqlite")


def use(monkeypatch: pytest.MonkeyPatch, storage: Path | str) -> None:
    monkeypatch.setenv("QUANT__STORAGE", str(storage))
    monkeypatch.setenv("DAGSTER_HOME", "")


def test_each_storage_has_an_instance_of_its_own_and_the_default_one_keeps_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home_of(load_settings("demo")) == ROOT / "storage" / "dagster" / "demo"
    assert home_of(load_settings("files")) == ROOT / "storage" / "dagster" / "files"
    use(monkeypatch, tmp_path / "other")
    assert home_of(load_settings("demo")) == tmp_path / "other" / "dagster" / "demo"
    use(monkeypatch, "s3://bucket/prefix")
    digest = hashlib.sha256(b"s3://bucket/prefix/demo").hexdigest()[:12]
    assert home_of(load_settings("demo")) == ROOT / "storage" / "dagster" / f"demo-{digest}"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "own"))
    assert home_of(load_settings("demo")) == tmp_path / "own"


def test_a_home_is_bound_at_its_first_use_and_another_storage_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, tmp_path / "one")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    home = dagster_home("demo")
    assert bound_to(home) == str(tmp_path / "one" / "demo")
    assert dagster_home("demo") == home
    assert capsys.readouterr().err == ""
    for storage, profile, other in (("one", "files", "one/files"), ("two", "demo", "two/demo")):
        monkeypatch.setenv("QUANT__STORAGE", str(tmp_path / storage))
        for refused in (dagster_home, lambda name: existing_instance(load_settings(name)).__enter__()):
            with pytest.raises(SettingsError) as caught:
                refused(profile)
            (line,) = str(caught.value).splitlines()
            for part in (
                str(home),
                str(tmp_path / "one" / "demo"),
                str(tmp_path / other),
                "unset DAGSTER_HOME",
                RECORD,
            ):
                assert part in line
    (home / RECORD).unlink()
    assert dagster_home("demo") == home, "the remedy for a storage that was moved"
    assert bound_to(home) == str(tmp_path / "two" / "demo")


def test_an_instance_from_before_is_bound_to_the_storage_in_use_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, tmp_path / "storage")
    home = home_of(load_settings("demo"))
    home.mkdir(parents=True)
    shutil.copy(PROJECT / "conf" / "dagster.yaml", home)
    assert dagster_home("demo") == home
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"note: the Dagster instance {home} is bound to {tmp_path / 'storage' / 'demo'} from now on")
    assert dagster_home("demo") == home
    assert capsys.readouterr().err == ""


def test_a_storage_that_shared_the_default_instance_is_told_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only where there is something to tell: a storage with data, and an instance from before."""
    monkeypatch.setattr(running, "BASE", tmp_path)
    shared = tmp_path / "storage" / "dagster" / "demo"
    for number, (before, data) in enumerate([(False, True), (True, False), (True, True)]):
        storage = tmp_path / f"storage{number}"
        use(monkeypatch, storage)
        if before:
            shared.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / "conf" / "dagster.yaml", shared)
        if data:
            (storage / "demo" / "prices").mkdir(parents=True)
        assert dagster_home("demo") == storage / "dagster" / "demo"
        said = capsys.readouterr().err.splitlines()
        assert len(said) == (before and data)
    assert str(shared) in said[0]
    assert "quant status --report" in said[0]


def test_storage_and_instance_may_be_moved_together(tmp_path: Path) -> None:
    home = tmp_path / "here" / "dagster" / "demo"
    home.mkdir(parents=True)
    assert bind(home, str(tmp_path / "here" / "demo"))
    (tmp_path / "here").rename(tmp_path / "there")
    moved = tmp_path / "there" / "dagster" / "demo"
    assert not bind(moved, str(tmp_path / "there" / "demo"))
    with pytest.raises(SettingsError, match="keeps the records of"):
        bind(moved, str(tmp_path / "here" / "demo"))


def test_a_url_is_recorded_as_it_is(tmp_path: Path) -> None:
    assert bind(tmp_path, "s3://bucket/prefix/demo")
    assert (tmp_path / RECORD).read_text() == "s3://bucket/prefix/demo\n"
    assert not bind(tmp_path, "s3://bucket/prefix/demo")


@pytest.mark.parametrize("storage", ["one", "two"])
def test_who_binds_between_the_look_and_the_writing_is_not_overwritten(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes find the home unbound; the second to write sees what the first has written."""
    looked, url = binding.check_serves, f"s3://bucket/{storage}"

    def overtaken(home: Path, storage: str) -> bool:
        found = looked(home, storage)
        monkeypatch.setattr(binding, "check_serves", looked)
        assert bind(home, "s3://bucket/one")
        return found

    monkeypatch.setattr(binding, "check_serves", overtaken)
    if storage == "one":
        assert not bind(tmp_path, url)
    else:
        with pytest.raises(SettingsError, match="keeps the records of s3://bucket/one, not of s3://bucket/two"):
            bind(tmp_path, url)
    assert bound_to(tmp_path) == "s3://bucket/one"
    assert [each.name for each in tmp_path.iterdir()] == [RECORD]


@pytest.mark.slow
def test_dagsters_own_command_binds_its_instance_and_is_refused_elsewhere(tmp_path: Path) -> None:
    """It knows nothing of `quant`: what writes and reads the partitions refuses."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(PROJECT / "conf" / "dagster.yaml", home)

    def materialise(storage: str) -> "subprocess.CompletedProcess[str]":
        chosen = ["-m", "quant_assets.definitions", "--select", "fundamentals", "--partition", "2024-06|it"]
        return subprocess.run(
            [str(Path(sys.executable).parent / "dagster"), "asset", "materialize", *chosen],
            env=os.environ
            | {
                "DAGSTER_HOME": str(home),
                "QUANT__STORAGE": str(tmp_path / storage),
                "QUANT__AS_OF": "2024-06-28",
                "QUANT__PARTITIONS__START": "2024-05",
                "PYTHONPATH": str(PROJECT),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    first = materialise("one")
    assert first.returncode == 0, first.stderr
    assert bound_to(home) == str(tmp_path / "one" / "demo")
    other = materialise("two")
    assert other.returncode != 0
    assert (
        f"SettingsError: the Dagster instance {home} keeps the records of {tmp_path / 'one' / 'demo'}" in other.stderr
    )
    assert not (tmp_path / "two" / "demo" / "fundamentals").exists()


@pytest.mark.slow
def test_a_run_of_the_command_line_is_refused_in_one_line_where_only_the_write_can_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a file .env names another storage than the shell that made the instance."""
    monkeypatch.setenv("QUANT__AS_OF", "2024-06-28")
    monkeypatch.setenv("QUANT__PARTITIONS__START", "2024-05")
    use(monkeypatch, tmp_path / "one")
    home = dagster_home("demo")
    monkeypatch.setenv("QUANT__STORAGE", str(tmp_path / "two"))
    with pytest.raises(RunFailedError) as caught:
        execute([[Phase(("fundamentals",), "2024-06", "2024-06", ("it",))]], load_settings("demo"), 1, lambda *_: None)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"fundamentals (it, 2024-06): the Dagster instance {home} keeps the records of ")
    with dg.DagsterInstance.get() as instance:
        assert not instance.get_materialized_partitions(dg.AssetKey("fundamentals"))


def test_looking_makes_and_binds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, tmp_path / "storage")
    with existing_instance(load_settings("demo")) as instance:
        assert instance is None
    assert not (tmp_path / "storage").exists()


#: `quant`, with the program that `quant ui` serves replaced by its environment and arguments in one line.
PRINTS_WHAT_IT_SERVES = """
import os
from quant_assets.cli import main, ui

def printed(arguments):
    print(os.environ["DAGSTER_HOME"], os.environ["QUANT_PROFILE"], *arguments, flush=True)
    return 0

ui.serve = printed
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_ui_serves_the_instance_of_the_storage_that_the_file_env_names(tmp_path: Path) -> None:
    """With the last step replaced by one that says what Dagster would be given: a web server is not what is tested."""
    shutil.copy(PROJECT / "Makefile", tmp_path)
    (tmp_path / ".env").write_text(f"QUANT__STORAGE={tmp_path / 'other'}\nQUANT__DAGSTER__STORAGE=sqlite\n")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("")
    (programs.parent / ".installed").write_text("")
    (tmp_path / "command.py").write_text(PRINTS_WHAT_IT_SERVES, encoding="utf-8")
    (programs / "quant").write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "command.py"} "$@"\n')
    (programs / "quant").chmod(0o755)

    def ui(**variables: str) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"PYTHONPATH": str(PROJECT)} | variables
        return subprocess.run(
            ["make", "-s", "ui", "PROFILE=demo"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    served = ui(PORT=str(free_port()))
    assert served.returncode == 0, served.stderr
    home = tmp_path / "other" / "dagster" / "demo"
    assert f"{home} demo -m dagster dev -m quant_assets.definitions -h 127.0.0.1 " in served.stdout
    assert (home / "history").is_dir(), "made before several processes meet it"
    bind(tmp_path, str(tmp_path / "third" / "demo"))
    refused = ui(DAGSTER_HOME=str(tmp_path))
    assert refused.returncode != 0
    assert "error: the Dagster instance" in refused.stderr
    assert "Traceback" not in refused.stderr
