"""The saved states of a training: whole or not there, verified before an older one goes, within their budget."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from quant_assets.errors import CheckpointError
from quant_assets.learning.deep import states as module
from quant_assets.learning.deep.states import KEPT, States
from quant_assets_tests.graph import PROJECT

FLOATS = 40_000  # of a state: 160 kB


def state(epoch: int, floats: int = FLOATS) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "weights": {"w": torch.full((floats,), float(epoch))},
        "history": [[1.0, 1.0 / (epoch + 1)]],
    }


def at(folder: Path, budget_mib: int = 10) -> tuple[States, list[str]]:
    told: list[str] = []
    return States(folder, budget_mib, told.append), told


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_best_three_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    kept, told = at(tmp_path)
    assert kept.newest() is None
    for epoch in (0, 2, 3, 7):
        kept.save(state(epoch), epoch, 1.0 / (epoch + 1))
    assert [each.epoch for each in kept.listed()] == [7, 3, 2]
    assert len(files(tmp_path)) == KEPT + 1
    newest = kept.newest()
    assert newest is not None
    assert newest["epoch"] == 7
    assert float(newest["weights"]["w"][0]) == 7.0
    assert not told


def test_a_new_one_is_read_before_an_old_one_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, _ = at(tmp_path)
    for epoch in range(KEPT):
        kept.save(state(epoch), epoch, 1.0)
    before, real = files(tmp_path), module._read
    seen: list[list[str]] = []

    def unreadable(path: Path, expected: str) -> dict[str, Any]:
        seen.append(files(tmp_path))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1  # the disk gives back something else
        path.write_bytes(bytes(content))
        return real(path, expected)

    monkeypatch.setattr(module, "_read", unreadable)
    with pytest.raises(CheckpointError, match="has changed since it was written"):
        kept.save(state(9), 9, 0.5)
    assert set(before) < set(seen[0]), "all older ones are there while the new one is read"
    monkeypatch.setattr(module, "_read", real)
    again, told = at(tmp_path)
    assert files(tmp_path) == before
    assert [each.epoch for each in again.listed()] == [2, 1, 0]
    assert again.newest() is not None
    assert not told


def test_one_that_was_damaged_later_is_passed_over_and_said(tmp_path: Path) -> None:
    kept, told = at(tmp_path)
    for epoch in range(2):
        kept.save(state(epoch), epoch, 1.0)
    path = tmp_path / kept.listed()[0].file
    path.write_bytes(path.read_bytes()[:-1])
    newest = kept.newest()
    assert newest is not None
    assert newest["epoch"] == 0
    assert len(told) == 1
    assert "state of epoch 1 is not used" in told[0]
    (tmp_path / "states.json").write_text("[{")
    assert kept.newest() is None
    assert "is not a list of states" in told[1]


def test_nothing_in_a_state_is_executed(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "mark"),)

    kept, _ = at(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        kept.save({"weights": Payload()}, 0, 1.0)
    assert not (tmp_path / "mark").exists()


def test_the_budget_is_kept_with_room_for_the_next_one(tmp_path: Path) -> None:
    kept, _ = at(tmp_path, 1)  # of states of 160 kB: six
    large = 80_000  # of 320 kB: three, and so two that are kept
    for epoch in range(5):
        kept.save(state(epoch, large), epoch, 1.0)
        assert sum(path.stat().st_size for path in tmp_path.glob("state-*")) < 700_000
    assert [each.epoch for each in kept.listed()] == [4, 3]
    with pytest.raises(CheckpointError, match=r"do not fit into checkpoint_mib 1: set at least 2"):
        kept.save(state(9, 200_000), 9, 0.5)
    assert [each.epoch for each in kept.listed()] == [4, 3]


def test_one_that_the_list_could_not_name_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, told = at(tmp_path)
    kept.save(state(0), 0, 1.0)
    before, real = files(tmp_path), module._write

    def full(path: Path, content: bytes | memoryview) -> None:
        if path.name.startswith("states.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(CheckpointError, match="that of epoch 0 is intact"):
        kept.save(state(1), 1, 0.5)
    assert files(tmp_path) == before
    (tmp_path / "state-00007-0123456789ab.pt").write_bytes(b"of a process that was killed before it wrote the list")
    again, _ = at(tmp_path)
    assert files(tmp_path) == before
    newest = again.newest()
    assert newest is not None
    assert (newest["epoch"], told) == (0, [])


def test_the_first_one_must_leave_room_for_the_next(tmp_path: Path) -> None:
    kept, _ = at(tmp_path, 1)
    with pytest.raises(CheckpointError, match=r"do not fit into checkpoint_mib 1: set at least 2"):
        kept.save(state(0, 200_000), 0, 1.0)
    assert not files(tmp_path)


_FILLS = """
import sys
from pathlib import Path
from quant_assets.errors import CheckpointError
from quant_assets.learning.deep.states import States
from quant_assets_tests.learning.deep.test_states import state
folder, told = Path(sys.argv[1]), []
kept = States(folder, 10, told.append)
saved = 0
try:
    for epoch in range(20):
        kept.save(state(epoch, 40_000 + 20_000 * epoch), epoch, 1.0)
        saved += 1
except CheckpointError as error:
    lines = str(error).splitlines()
    assert len(lines) == 1 and lines[0].startswith("no room in "), lines
    assert f"that of epoch {saved - 1} is intact" in lines[0], lines
else:
    raise SystemExit("it was not full")
assert not list(folder.glob("*.part"))
again = States(folder, 10, told.append)
newest = again.newest()
assert newest["epoch"] == saved - 1 and float(newest["weights"]["w"][-1]) == saved - 1, newest["epoch"]
assert saved >= 2 and not told, (saved, told)
for each in again.listed():
    assert (folder / each.file).stat().st_size == each.size
print(saved)
"""


def fills(folder: Path, start: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [*start, sys.executable, "-c", _FILLS, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_full_disk_loses_no_earlier_state_and_is_said_in_one_line(tmp_path: Path) -> None:
    script = f'mount -t tmpfs -o size=1m none {tmp_path} && exec "$@"'
    mounts = [
        "unshare",
        "--mount",
        *([] if os.getuid() == 0 else ["--user", "--map-root-user"]),
        "sh",
        "-c",
        script,
        "sh",
    ]
    tried = (
        subprocess.run([*mounts, "true"], capture_output=True, text=True, check=False)
        if sys.platform == "linux"
        else None
    )
    if tried is None or tried.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {tried.stderr.strip() if tried else sys.platform}")
    done = fills(tmp_path, mounts)
    assert done.returncode == 0, done.stderr
    assert 2 <= int(done.stdout) < 20


def test_a_file_that_may_not_grow_loses_no_earlier_state_either(tmp_path: Path) -> None:
    kept, told = at(tmp_path)
    for epoch in range(2):
        kept.save(state(epoch), epoch, 1.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(
            CheckpointError, match=r"no room in .* for the state of epoch 2, .* that of epoch 1 is intact"
        ):
            kept.save(state(2, 100_000), 2, 1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    newest = kept.newest()
    assert newest is not None
    assert newest["epoch"] == 1
    assert (len(files(tmp_path)), told) == (3, [])
