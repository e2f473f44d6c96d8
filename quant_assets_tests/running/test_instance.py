"""The embedded PostgreSQL for real: started by its first user, shared, stopped after the last, and up again after every
kind of kill."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
import yaml

from quant_assets.running.instance import EmbeddedPostgresStorage, dagster_home, records
from quant_assets.running.postgres import ServerError
from quant_assets_tests.graph import PROJECT

USER = """
import sys
from pathlib import Path
from quant_assets.running.postgres import serve
serve(Path(sys.argv[1]))
print("serving", flush=True)
input()
"""
RUN = """
from quant_assets.running.execute import execute
from quant_assets.running.instance import dagster_home
from quant_assets.planning.plan import Phase
from quant_assets.settings.loading import load_settings
dagster_home("demo")
phase = Phase(("fundamentals",), "2024-05", "2024-06", ("it", "telecoms"))
execute([[phase]], load_settings("demo"), 1, lambda *_: None)
"""
SEEN = """
import dagster as dg
with dg.DagsterInstance.get() as instance:
    print(*(run.status.value for run in instance.get_runs()))
    print(*sorted(instance.get_materialized_partitions(dg.AssetKey("fundamentals"))))
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that root's server may enter, which pytest's own folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="quant-"))
    folder.chmod(0o711)
    yield folder
    try:
        wait_until(lambda: not servers(folder))
    finally:
        for each in servers(folder):
            each.kill()
        shutil.rmtree(folder)


def servers(home: Path) -> list[psutil.Process]:
    """The server's main process, if it runs."""
    found = []
    for each in psutil.process_iter(["name", "cmdline", "ppid"]):
        command = each.info["cmdline"] or []
        if each.info["name"] == "postgres" and any(part.startswith(f"{home}/") for part in command):
            found.append(each)
    # A child has its parent's command line until it has given itself a title.
    return [each for each in found if each.info["ppid"] not in {other.pid for other in found}]


def keeper(home: Path) -> psutil.Process:
    (server,) = servers(home)
    parent = server.parent()
    assert parent is not None
    assert parent.cmdline()[-2:] == ["quant_assets.running.postgres", str(home / "postgres")]
    return parent


def wait_until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.05)


def use(home: Path) -> "subprocess.Popen[bytes]":
    """A process that uses the server until it is ended."""
    user = subprocess.Popen(
        [sys.executable, "-c", USER, str(home)], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert user.stdout is not None
    assert user.stdout.readline() == b"serving\n"
    return user


def end(user: "subprocess.Popen[bytes]") -> None:
    user.communicate(b"\n")
    assert user.returncode == 0


def python(code: str, home: Path, **variables: str) -> str:
    environment = (
        os.environ
        | {"DAGSTER_HOME": str(home), "QUANT__STORAGE": str(home / "data"), "QUANT__AS_OF": "2024-06-28"}
        | variables
    )
    environment |= {"QUANT__PARTITIONS__START": "2024-05"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_what_a_run_records_another_process_sees_and_the_server_ends_with_its_users(home: Path) -> None:
    python(RUN, home)
    wait_until(lambda: not servers(home))
    assert python(SEEN, home).splitlines() == ["SUCCESS", "2024-05|it 2024-05|telecoms 2024-06|it 2024-06|telecoms"]
    assert not (home / "history").exists(), "no SQLite"
    assert records(home) == "postgres"
    assert yaml.safe_load((home / "dagster.yaml").read_text())["telemetry"] == {"enabled": False}, (
        "the template's lines are there too"
    )
    assert not list((home / "postgres").glob("data-*/postmaster.pid"))


@pytest.mark.slow
def test_users_share_one_server_which_outlives_all_but_the_last(home: Path) -> None:
    first, second = use(home), use(home)
    (server,) = servers(home)
    end(first)
    time.sleep(0.5)
    assert servers(home) == [server]
    second.kill()
    second.wait()
    wait_until(lambda: not servers(home))


@pytest.mark.slow
def test_the_server_answers_on_a_socket_of_its_own_user_and_on_no_address(home: Path) -> None:
    user = use(home)
    (server,) = servers(home)
    assert [each for process in (server, *server.children()) for each in process.net_connections("inet")] == []
    assert (home / "postgres" / "socket").stat().st_mode & 0o777 == 0o700
    end(user)


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["keeper", "server", "both"])
def test_after_kill_9_the_next_user_has_a_server(home: Path, killed: str) -> None:
    user = use(home)
    (server,), its_keeper = servers(home), keeper(home)
    for process in {"keeper": [its_keeper], "server": [server], "both": [its_keeper, server]}[killed]:
        process.send_signal(signal.SIGKILL)
    user.kill()
    user.wait()
    again = use(home)
    if killed == "keeper":
        assert servers(home) == [server], "it went on"
    else:
        keeper(home)
    end(again)


@pytest.mark.slow
def test_a_home_behind_a_link_is_the_same_home(home: Path) -> None:
    link = home / "link"
    link.symlink_to(home)
    user = use(link)
    (server,) = servers(home)
    keeper(home).send_signal(signal.SIGKILL)
    again = use(link)
    assert servers(home) == [server], "it went on"
    end(user)
    end(again)


@pytest.mark.slow
def test_a_home_whose_name_has_a_comma_has_a_server_as_well(home: Path) -> None:
    place = home / "a, b"
    place.mkdir()
    place.chmod(0o711)
    user = use(place)
    assert len(servers(home)) == 1
    end(user)


@pytest.mark.slow
def test_who_only_stands_in_the_servers_folder_lives_on(home: Path) -> None:
    end(use(home))
    wait_until(lambda: not servers(home))
    (cluster,) = (home / "postgres").glob("data-*")
    bystander = subprocess.Popen(["sleep", "60"], cwd=cluster)
    try:
        end(use(home))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.slow
def test_a_record_of_a_process_number_that_is_somebody_elses_by_now_does_not_keep_it_from_starting(home: Path) -> None:
    end(use(home))
    wait_until(lambda: not servers(home))
    (cluster,) = (home / "postgres").glob("data-*")
    record = cluster / "postmaster.pid"
    record.write_text(f"{os.getpid()}\n{cluster}\n1\n5432\n{home}\n\n0 0\nready\n")
    if os.geteuid() == 0:
        shutil.chown(record, "nobody")
    end(use(home))


@pytest.mark.slow
def test_where_it_cannot_start_a_new_home_says_so_and_has_sqlite_and_an_old_one_says_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No folder of the socket can be made where a file has its name."""
    (home / "postgres").mkdir()
    (home / "postgres" / "socket").write_text("")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    assert records(dagster_home("demo")) == "sqlite"
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"note: PostgreSQL for Dagster's records does not start in {home}/postgres: ")
    assert "File exists" in said
    assert "Dagster's records are kept in SQLite" in said
    section = {
        "module": EmbeddedPostgresStorage.__module__,
        "class": EmbeddedPostgresStorage.__name__,
        "config": {"home": str(home)},
    }
    (home / "dagster.yaml").write_text(yaml.dump({"storage": {"custom": section}}))
    with (
        pytest.raises(ServerError, match=rf"does not start in {home}/postgres: .*; fix that, or move {home} away"),
        dg.DagsterInstance.get(),
    ):
        pass


@pytest.mark.slow
def test_sqlite_is_a_setting_and_an_existing_home_keeps_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python(RUN, home, QUANT__DAGSTER__STORAGE="sqlite")
    assert (home / "history").is_dir()
    assert not (home / "postgres").exists()
    assert records(home) == "sqlite"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("QUANT__STORAGE", str(home / "data"))  # the one that the run has bound it to
    assert records(dagster_home("demo")) == "sqlite", "the setting is for new homes"
    assert python(SEEN, home).split()[0] == "SUCCESS"


def test_a_home_may_name_a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("storage: {postgres: {postgres_url: somewhere}}\n")
    assert records(dagster_home("demo")) is None
