"""The proof that no device is shared or lost, with a real daemon and code server, while both and runs are killed.

`python -m quant_assets_tests.running.device_proof` prints the log as a table: the whole proof, over eight pretended
devices. `test_device_proof.py` runs a smaller one. No tests.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import dagster as dg
import psutil
import yaml

from quant_assets.dagster_internals import job_of_all_assets, submit_assets
from quant_assets.runtime.devices import POOL, device_ids
from quant_assets.runtime.lease import Devices
from quant_assets.settings.sectors import SECTORS
from quant_assets_tests.graph import PROJECT
from quant_assets_tests.running import device_location

LOCATION = device_location.__name__
_PERIOD = 0.3
_OVER = ("SUCCESS", "FAILURE", "CANCELED")

#: (asset, sector) of a training.
Wanted = tuple[str, str]


@dataclass(frozen=True)
class Training:
    """What a trainer wrote down: Unix times, and what it held."""

    first: float
    last: float
    run: str
    asset: str
    sector: str
    devices: tuple[str, ...]
    ended: bool


@dataclass
class Event:
    """A line of the log."""

    seconds: float
    what: str
    run: str = ""
    sector: str = ""
    device: str = ""


def _parents(pid: int) -> list[psutil.Process]:
    """Processes above one, the nearest first; none if it has ended."""
    try:
        return psutil.Process(pid).parents()
    except psutil.NoSuchProcess:
        return []


def requested(instance: dg.DagsterInstance, wanted: Sequence[Wanted]) -> None:
    """Ask for trainings as a sensor does: runs in the queue of the instance, one for each."""
    job = job_of_all_assets(device_location.defs)
    for asset, sector in wanted:
        key = dg.MultiPartitionKey({"month": device_location.MONTH, "sector": sector})
        tags = {"dagster/partition": str(key), "dagster/partition/month": device_location.MONTH}
        submit_assets(instance, job, [asset], LOCATION, tags | {"dagster/partition/sector": sector})


@dataclass
class Proof:
    """Trainings over pretended devices by a real daemon, and who is killed meanwhile.

    Attributes:
        folder: an empty one.
        devices: how many.
        wanted: trainings that are asked for, in order.
        request: asks for them; another function asks by a sensor.
        location: module of the code location.
        seconds: that any one thing may take before it counts as lost.

    """

    folder: Path
    devices: int
    wanted: Sequence[Wanted]
    request: Callable[[dg.DagsterInstance, Sequence[Wanted]], None] = requested
    location: str = LOCATION
    seconds: float = 600.0
    events: list[Event] = field(default_factory=list)
    recovered: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._begun = time.time()
        self._seen: dict[tuple[str, float], bool] = {}
        self._statuses: dict[str, str] = {}
        self._processes: dict[int, psutil.Process] = {}
        self._released: set[str] = set()

    # --- What there is ----------------------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator["Proof"]:
        """An instance of its own with a daemon; afterwards nothing of it is left."""
        home, notes = self.folder / "home", self.folder / "notes"
        for each in (home, notes):
            each.mkdir()
        config = yaml.safe_load((PROJECT / "conf" / "dagster.yaml").read_text(encoding="utf-8"))
        config["run_coordinator"]["config"]["max_concurrent_runs"] = 2 * self.devices
        (home / "dagster.yaml").write_text(yaml.safe_dump(config))
        environment = {
            "DAGSTER_HOME": str(home),
            "QUANT_GPUS": str(self.devices),
            "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "DAGSTER_GRPC_TIMEOUT_SECONDS": "600",  # a launch takes minutes on a machine that is very busy
            device_location.FOLDER: str(notes),
            device_location.EVERY: str(self.devices),
        }
        with ExitStack() as stack:
            stack.enter_context(patch.dict(os.environ, environment))
            self.instance = stack.enter_context(dg.DagsterInstance.get())
            self.instance.get_run_records(limit=1)
            self.instance.event_log_storage.set_concurrency_slots(POOL, self.devices)
            self.leases = Devices(home / "devices", device_ids())
            stack.callback(self._end)
            self.start_daemon()
            yield self

    def start_daemon(self) -> None:
        """Start the daemon, which starts a code server."""
        program = str(Path(sys.executable).parent / "dagster-daemon")
        with (self.folder / "daemon.log").open("ab") as log:
            self.daemon = psutil.Popen(
                [program, "run", "-m", self.location],
                cwd=PROJECT,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.note("daemon started")

    def note(self, what: str, run: str = "", sector: str = "", device: str = "") -> None:
        """Add a line to the log."""
        self.events.append(Event(time.time() - self._begun, what, run[:8], sector, device))

    def trainings(self) -> list[Training]:
        """Every training that has begun."""
        found = []
        for each in (self.folder / "notes").glob("*.held"):
            first, last, run, asset, sector, devices, ended = each.read_text().split("\n")
            found.append(
                Training(float(first), float(last), run, asset, sector, tuple(devices.split(",")), ended == "True")
            )
        return sorted(found, key=lambda each: each.first)

    def holders(self) -> list[dict[str, object]]:
        """What the holders of devices said, one for each run whose trainer runs, the longest first."""
        found = {str(each.about["run"]): dict(each.about) for each in self.leases.held() if each.about}
        begun = {each.run for each in self.trainings() if not each.ended}
        alive = [each for each in found.values() if str(each["run"]) in begun - self._released]
        return sorted(alive, key=lambda each: float(str(each["since"])))

    # --- What happens -----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Note what has changed, and check that nobody shares a device."""
        for process in (self.daemon, *self._descendants()):
            self._processes.setdefault(process.pid, process)
        for each in self.trainings():
            known = self._seen.get((each.run, each.first))
            if known is None:
                self.note(f"{each.asset} trains", each.run, each.sector, ", ".join(each.devices))
            if each.ended and not known:
                self.note(f"{each.asset} has trained", each.run, each.sector, ", ".join(each.devices))
            self._seen[each.run, each.first] = each.ended
        for run in self.instance.get_runs():
            status = run.status.value
            if status in _OVER and self._statuses.get(run.run_id) != status:
                self.note(f"run {status}", run.run_id, run.tags.get("dagster/partition/sector", ""))
            self._statuses[run.run_id] = status

    def wait(self, what: str, reached: Callable[[], object]) -> float:
        """Look on until something is reached; the seconds that it took."""
        begun = time.time()
        while True:
            self.look()
            if reached():
                return time.time() - begun
            if time.time() - begun > self.seconds:
                raise AssertionError(f"waited {self.seconds:.0f} s for {what}\n{self.table()}")
            time.sleep(_PERIOD)

    def fill(self, count: int) -> None:
        """Wait until as many devices are computed on."""
        self.wait(f"{count} devices to be held", lambda: self.held() >= count)

    def recover(self, name: str, reached: Callable[[], object]) -> None:
        """Wait until something is reached after a kill, and keep how long it took."""
        self.recovered[name] = self.wait(f"what follows on {name}", reached)
        self.note(f"recovered: {name}, {self.recovered[name]:.0f} s")

    def kill_daemon(self) -> None:
        """`kill -9` of the daemon; a new one is started at once. Its code server and runs are left alone."""
        self.look()
        self.daemon.kill()
        self.daemon.wait()
        self.note("daemon killed")
        self.start_daemon()

    def kill_worker(self, place: int = 0) -> str:
        """`kill -9` of the process of the run that has held a device longest, or of a later one; the run."""
        about = self.holders()[place]
        worker = psutil.Process(int(str(about["pid"]))).parent()
        worker.kill()
        self.note("run's process killed", str(about["run"]), str(about["subject"]))
        return str(about["run"])

    def kill_waiting(self) -> None:
        """`kill -9` of the process of a run that waits for devices at the front of the queue."""
        about = self.leases.waiting()[0].about
        psutil.Process(int(str(about["pid"]))).kill()
        self.note(
            f"waiting run's process killed ({about['devices']} devices)", str(about["run"]), str(about["subject"])
        )

    def servers(self) -> list[psutil.Process]:
        """Code servers of the runs that hold devices, in their order; a training outlives its killed run a moment."""
        above = [each for about in self.holders() for each in _parents(int(str(about["pid"])))]
        return [each for each in above if "grpc" in each.cmdline()]

    def kill_server(self) -> list[str]:
        """`kill -9` of the code server with the run that has held a device longest; its runs that held devices."""
        self.wait("a training of a living run", self.servers)
        server = self.servers()[0]
        mine = [each for each in self.holders() if server in _parents(int(str(each["pid"])))]
        server.kill()
        self.note(f"code server killed ({len(mine)} trainings)")
        return [str(each["run"]) for each in mine]

    def release(self, count: int = 1) -> None:
        """Let as many trainings end, those that have held devices longest."""
        for about in self.holders()[:count]:
            self._released.add(str(about["run"]))
            (self.folder / "notes" / f"{about['run']}.release").touch()

    def finish(self) -> None:
        """Let all trainings end as they come, until every one that was asked for is there."""

        def over() -> bool:
            self.release(self.devices)
            runs = self.instance.get_runs()
            due = [
                run
                for run in runs
                if run.tags.get("dagster/will_retry") == "true" and "dagster/auto_retry_run_id" not in run.tags
            ]
            return not due and all(run.status.value in _OVER for run in runs)

        self.wait("every run to end", over)
        free = lambda: not self._slots() and all(each.about is None for each in self.leases.held())  # noqa: E731
        self.wait("slots and devices to be free", free)
        assert not self.leases.waiting()

    # --- What must hold ---------------------------------------------------------------------------------------------

    def check(self) -> dict[str, float]:
        """Nobody shared a device, every training that was asked for succeeded once; the figures of it."""
        trainings = self.trainings()
        for place, each in enumerate(trainings):
            for other in trainings[:place]:
                if each.first < other.last and other.first < each.last:
                    shared = set(each.devices) & set(other.devices)
                    assert not shared, f"{each} and {other} share {shared}\n{self.table()}"
        moments = sorted(
            [(each.first, len(each.devices)) for each in trainings]
            + [(each.last, -len(each.devices)) for each in trainings]
        )
        held, most = 0, 0
        for _, change in moments:
            held += change
            most = max(most, held)
        assert most <= self.devices
        counted = {"single": 1, "pair": 2, "all": self.devices}
        for each in trainings:
            assert len(each.devices) == counted[each.asset.removesuffix("_checkpoint")], each
        runs = self.instance.get_runs()
        done = sorted(
            (next(iter(run.asset_selection)).path[-1], run.tags["dagster/partition/sector"])
            for run in runs
            if run.status.value == "SUCCESS"
        )
        assert done == sorted(self.wanted), f"every training succeeds once\n{self.table()}"
        ended = sorted((each.asset, each.sector) for each in trainings if each.ended)
        assert ended == sorted(self.wanted), f"no training is made twice\n{self.table()}"
        return {
            "trainings asked for": len(self.wanted),
            "trainings begun": len(trainings),
            "runs": len(runs),
            "most devices at once": most,
            "seconds": round(time.time() - self._begun, 1),
            **{f"seconds to recover, {name}": round(seconds, 1) for name, seconds in self.recovered.items()},
        }

    def table(self) -> str:
        """The log: time in seconds, event, run, sector, device."""
        head = f"{'time':>7}  {'event':48} {'run':8}  {'sector':18} device"
        lines = [f"{e.seconds:7.1f}  {e.what:48} {e.run:8}  {e.sector:18} {e.device}".rstrip() for e in self.events]
        return "\n".join([head, *lines])

    def held(self) -> int:
        """How many devices are computed on by trainings that have not been told to end."""
        begun = {str(each["run"]) for each in self.holders()}
        return sum(1 for each in self.leases.held() if each.about and str(each.about["run"]) in begun)

    def holds(self, *runs: str) -> bool:
        """Whether a training of one of the runs still holds a device: it takes a moment to notice that it was killed,
        and one that is told to end in this moment has trained for nothing."""
        return any(each.about is not None and str(each.about["run"]) in runs for each in self.leases.held())

    def _slots(self) -> int:
        return int(self.instance.event_log_storage.get_concurrency_info(POOL).active_slot_count)

    def _descendants(self) -> list[psutil.Process]:
        try:
            return list(self.daemon.children(recursive=True))
        except psutil.Error:
            return []

    def _end(self) -> None:
        self.look()
        self.daemon.terminate()
        processes = [each for each in self._processes.values() if each.is_running()]
        for each in psutil.wait_procs(processes, 5)[1]:
            try:
                each.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(processes, 30)


def whole(proof: Proof) -> None:
    """Three kills of the daemon, one of a code server, three of runs; one of them waits for all devices."""
    proof.request(proof.instance, proof.wanted)
    proof.fill(proof.devices)
    killed = proof.kill_worker()
    proof.kill_daemon()
    proof.recover("a run and the daemon killed", lambda: not proof.holds(killed) and proof.held() >= proof.devices)
    begun = len(proof.trainings())
    lost = proof.kill_server()
    proof.wait("the server's trainings to end", lambda: not proof.holds(*lost))
    # The training over all devices may come first of those that are launched again: then nobody may pass it.
    proof.recover("the code server killed", lambda: len(proof.trainings()) > begun or _all_is_next(proof))
    proof.wait("the training over all devices to be the next", lambda: _all_waits(proof))
    proof.kill_waiting()
    proof.kill_daemon()
    proof.fill(proof.devices // 2)
    begun = len(proof.trainings())
    proof.kill_worker()
    proof.kill_daemon()
    proof.recover("a run and the daemon killed again", lambda: len(proof.trainings()) > begun)
    proof.finish()


def _all_is_next(proof: Proof) -> bool:
    """Whether the training over all devices is at the front of those that wait."""
    waiting = proof.leases.waiting()
    return bool(waiting) and waiting[0].device == str(proof.devices)


def _all_waits(proof: Proof) -> bool:
    """Whether the training over all devices is at the front; lets trainings end until it is, but for two."""
    if _all_is_next(proof):
        return True
    proof.release(max(len(proof.holders()) - 2, 0))
    return False


def main() -> None:
    """The whole proof; prints its log and figures."""
    wanted = [("single_checkpoint", sector) for sector in SECTORS]
    wanted[9:9] = [("pair_checkpoint", "it"), ("all_checkpoint", "energy")]
    with tempfile.TemporaryDirectory() as folder:
        proof = Proof(Path(folder), 8, wanted)
        try:
            with proof.running():
                whole(proof)
                figures = proof.check()
        finally:
            sys.stdout.write(f"{proof.table()}\n")
        sys.stdout.write(f"{json.dumps(figures, indent=2)}\n")


if __name__ == "__main__":
    main()
