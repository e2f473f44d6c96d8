"""The command in surroundings that are not the developer's: few letters, few rights, no home folder, settings of two
files elsewhere. What it cannot do it says in one line."""

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from quant_assets.errors import refused_by_the_machine
from quant_assets.settings.origin import ROOT
from quant_assets_tests.command import Quant
from quant_assets_tests.graph import PROJECT

WITHOUT_RIGHTS = """
import os, sys, tempfile
import numba
import numpy as np
from quant_assets.runtime import compile_cache
from quant_assets.windows.kernels import lagged
given = np.arange(6.0).reshape(1, 6), 2, 1
numba.njit(lagged.__wrapped__)(*given)  # loads what compiling needs while its files may be read
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
compile_cache._PACKAGE = compile_cache.Path("/proc")  # one's own checkout may be written by oneself
for storage, tempfile.tempdir in zip(sys.argv[1::2], sys.argv[2::2]):
    os.environ.pop("NUMBA_CACHE_DIR", None)
    compile_cache.provide(storage)
    print(os.environ.get("NUMBA_CACHE_DIR"))
numba.core.config.reload_config()
numba.core.caching.InTreeCacheLocator.from_function = lambda *_: None
print(lagged(*given)[0, -1])
"""


def test_letters_that_the_screen_does_not_know_are_replaced(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quant_assets.cli", "known", "delistings", "--as-of", "Mün"],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "QUANT__STORAGE": str(tmp_path)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "error: --as-of M?n is not a day; write it as YYYY-MM-DD, for example 2016-06-30\n"


def test_what_the_machine_refuses_is_one_line(command: Quant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QUANT__STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "file" / "home"))
    outcome = command("run", "-s", "it", "--to", "2024-06")
    assert outcome.status == 1
    assert outcome.err.splitlines() == [f"error: {tmp_path / 'file' / 'home'}: Not a directory; fix that and run again"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("foo://bucket/x", "error: storage foo://bucket/x/demo: Protocol not known: foo; set QUANT__STORAGE"),
        ("s3://bucket/x", "error: the storage cannot be used: Unable to locate credentials; set AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line(
    url: str, message: str, command: Quant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("QUANT__STORAGE", url)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    outcome = command("show", "macro")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith(message)
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "file", "said"),
    [
        (
            errno.ENOSPC,
            "/a/.b.json.x1_y2z3w.tmp",
            "/a/b.json: No space left on device; free space there (quant prune",
        ),
        (
            errno.EROFS,
            "/a/b.parquet",
            "/a/b.parquet: Read-only file system; set QUANT__STORAGE to a folder that can be",
        ),
        (errno.EACCES, "/a/.b", "/a/.b: Permission denied; give yourself the right to it, or set QUANT__STORAGE to"),
        (errno.EIO, "/a/b", "/a/b: Input/output error; fix that and run again"),
    ],
)
def test_what_a_disk_refuses_names_the_file_and_what_helps(number: int, file: str, said: str) -> None:
    assert refused_by_the_machine(file, os.strerror(number)).startswith(said)


def test_a_busy_port_names_the_option(command: Quant) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        outcome = command("ui", "--port", str(port))
    assert outcome.status == 1
    assert outcome.err.splitlines() == [
        f"error: port {port} cannot be used (Address already in use); choose another one: make ui PORT={port + 1}, or "
        f"quant ui --port {port + 1}"
    ]


def test_records_that_the_disk_refuses_are_one_line(tmp_path: Path) -> None:
    """A limit on the size of files refuses as a full disk does."""
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)); "
        "from quant_assets.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, "run", "-s", "it", "--to", "2024-06", "--select", "macro"],
        env=os.environ
        | {
            "QUANT__STORAGE": str(tmp_path / "storage"),
            "DAGSTER_HOME": str(tmp_path / "home"),
            "QUANT__DAGSTER__STORAGE": "sqlite",
        },
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: Dagster's records in {tmp_path / 'home'}: ")
    assert done.stderr.endswith("; fix that and run again\n")
    assert len(done.stderr.splitlines()) == 1


def test_a_home_that_dagster_would_read_as_a_pattern_is_refused(
    command: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "/nowhere/a [b]")
    outcome = command("status")
    assert outcome.status == 1
    assert outcome.err.startswith(
        "error: /nowhere/a [b] cannot be the folder of a Dagster instance: Dagster takes *, ?"
    )


def test_a_data_folder_that_cannot_be_read_is_one_line(command: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_DATA_DIR", "/" + "n" * 300)  # longer than a name may be: also root cannot read it
    outcome = command("run", "-p", "files", "-s", "it", "--to", "2016-06")
    assert outcome.status == 1
    assert outcome.err.startswith("error: the data folder /nnn")
    assert "cannot be read: File name too long; fix that, or set QUANT_DATA_DIR" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_messages_name_the_file_in_use(command: Quant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    profile = tmp_path / "conf" / "profiles" / "mine.yaml"
    profile.parent.mkdir(parents=True)
    (tmp_path / "conf" / "base.yaml").write_bytes((ROOT / "conf" / "base.yaml").read_bytes())
    profile.write_text(
        "source: files\npartitions: {start: '2024-05', end: '2024-06'}\nfiles: {membership: {file: none.csv}}\n"
    )
    monkeypatch.setenv("QUANT_CONF_DIR", str(tmp_path / "conf"))
    monkeypatch.setenv("QUANT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("QUANT__STORAGE", str(tmp_path / "storage"))
    told = command("run", "-p", "mine", "-s", "it", "--to", "2024-06").err
    assert told.endswith(f"or remove it from {profile}\n"), told
    told = command("run", "-p", "mine", "-s", "it", "--to", "2023-06").err
    assert told.endswith(f"set partitions.start and partitions.end in {profile}\n"), told
    monkeypatch.delenv("QUANT_CONF_DIR")
    told = command("run", "-p", "files", "-s", "it", "--to", "2016-06").err
    assert told.endswith("or remove it from conf/profiles/files.yaml\n"), told


@pytest.mark.slow
def test_settings_of_two_files_elsewhere_are_enough(
    command: Quant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "a, b é"
    (folder / "profiles").mkdir(parents=True)
    (folder / "base.yaml").write_bytes((ROOT / "conf" / "base.yaml").read_bytes())
    (folder / "profiles" / "mine.yaml").write_text("source: demo\npartitions: {start: '2024-05'}\n")
    for name, value in {
        "QUANT_CONF_DIR": str(folder),
        "QUANT__STORAGE": str(folder / "storage"),
        "DAGSTER_HOME": "",
        "QUANT__DAGSTER__STORAGE": "sqlite",
    }.items():
        monkeypatch.setenv(name, value)
    outcome = command("run", "-p", "mine", "-s", "it", "--to", "2024-05", "--select", "macro")
    assert outcome.status == 0, outcome.err
    template = folder / "storage" / "dagster" / "mine" / "dagster.yaml"
    assert template.read_bytes() == (ROOT / "conf" / "dagster.yaml").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without rights")
def test_a_user_who_may_write_nothing_of_his_own_computes_all_the_same(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    writable = tmp_path / "writable"
    writable.mkdir()
    writable.chmod(0o777)
    places = [("s3://bucket/x", writable), (writable / "x", writable), (tmp_path / "x", tmp_path / "none")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG", "NUMBA"))}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS, *(str(each) for pair in places for each in pair)],
        env=environment | {"HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    own = writable / "quant-assets-numba-65534"
    assert done.stdout.splitlines() == [str(own), str(writable / "numba"), "None", "3.0"]
    assert own.stat().st_mode & 0o777 == 0o700
