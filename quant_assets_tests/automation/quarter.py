"""Sessions simulated one after the other, and what the months must equal in the end.

The clock is a line of the settings' files, which every process reads anew: nothing waits for a real evening. Run as a
program it simulates a quarter with a real daemon, which is killed every tenth session (`make nightly`): of the demo's
market, or of real files (`--data`), of which a bar is corrected and a statement comes late.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow.parquet as pq
import yaml

from quant_assets.assets.live import DECISIONS
from quant_assets.automation.after_close import NEW_YORK, live_automation
from quant_assets.automation.moment import Moment
from quant_assets.automation.retrain import Tick
from quant_assets.automation.revise import revise_job
from quant_assets.automation.revise import tick as revise_tick
from quant_assets.dagster_internals import submit_assets
from quant_assets.dagster_records import unfinished_backfills
from quant_assets.graph import build_defs
from quant_assets.market.calendar import sessions
from quant_assets.partitions import key, month_end, month_of, month_range, shift_month
from quant_assets.planning.plan import Planner
from quant_assets.profile import Profile
from quant_assets.running.daily import TRAINED
from quant_assets.running.instance import dagster_home, initialise_instance
from quant_assets.running.staging import Staged
from quant_assets.running.work import CODE_LOCATION, REASONS
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.loading import load_settings
from quant_assets_tests.automation.corrected_files import CorrectedFiles
from quant_assets_tests.graph import PROJECT, SMALL

SECTORS = ("cons_staples",)
#: Settings of real files, for one sector over three years.
OF_FILES: dict[str, Any] = {
    "partitions": {"start": "2018-01", "end": None},
    "models": SMALL["models"],
    "revisions": {"settle_minutes": 0},
}
#: Seconds that a run of the daemon may take.
_PATIENCE = 1_800


class Simulation:
    """A profile on a folder of its own, whose settings are files there.

    Args:
        folder: of settings, storage and instance.
        go_live: first session of the ledger.
        sectors: of which something is said.
        base: profile whose settings are taken over.
        settings: that differ from it.
        name: of the profile. The schedules and sensors of `demo` are on by themselves, those of any other are off.

    """

    def __init__(
        self,
        folder: Path,
        go_live: date,
        sectors: Sequence[str] = SECTORS,
        *,
        base: str = "demo",
        settings: Mapping[str, Any] = SMALL,
        name: str = "demo",
    ) -> None:
        self.folder, self.go_live, self.sectors, self.name = folder, go_live, tuple(sectors), name
        conf = folder / "conf"
        shutil.copytree(PROJECT / "conf", conf)
        self._profile_file = conf / "profiles" / f"{name}.yaml"
        origin = conf / "profiles" / f"{base}.yaml"
        self._settings = _merged(yaml.safe_load(origin.read_text(encoding="utf-8")), settings)
        self._settings |= {
            "live": {"go_live": go_live, "sectors": list(sectors)},
            "storage": str(folder / "storage"),
            "dagster": {"storage": "sqlite"},
        }
        os.environ["QUANT_CONF_DIR"] = str(conf)

    def at(self, session: date, **changed: Any) -> None:
        """Set the clock to the evening of a session; settings may change with it."""
        self._settings = _merged(self._settings, changed) | {"as_of": session}
        unfinished = self._profile_file.with_suffix(".part")
        unfinished.write_text(yaml.safe_dump(self._settings), encoding="utf-8")
        unfinished.replace(self._profile_file)

    @property
    def profile(self) -> Profile:
        """As of the clock."""
        return Profile(load_settings(self.name))

    def tick(self, name: str, session: date, hour: int, instance: dg.DagsterInstance) -> dg.RunRequest | str:
        """What a schedule asks for at an hour of a day, or why it does not."""
        schedules = {each.name: each for each in live_automation(self.profile).schedules or ()}
        at = datetime(session.year, session.month, session.day, hour, 30, tzinfo=ZoneInfo(NEW_YORK))
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
        result = schedules[name].evaluate_tick(context)  # type: ignore[union-attr]
        return result.run_requests[0] if result.run_requests else str(result.skip_message)

    def executed(self, request: dg.RunRequest, instance: dg.DagsterInstance) -> bool:
        """Execute a request in this process; whether it succeeded."""
        (job,) = live_automation(self.profile).jobs or ()
        result = job.execute_in_process(  # type: ignore[union-attr]
            run_config=request.run_config, tags=request.tags, instance=instance, raise_on_error=False
        )
        return bool(result.success)

    def trained(self) -> list[str]:
        """Train the month that has closed where that is due, as the retraining does; the keys."""
        profile = self.profile
        month, dataset = month_of(profile.last_session()), profile.datasets[CHECKPOINTS.name]
        defs = build_defs(profile.settings)
        planner = Planner(defs, profile)
        if profile.known_through(month) != sessions(profile.last_session(), month_end(month)).tolist()[-1]:
            return []  # its last session is still to come
        if not planner.unfinished(CHECKPOINTS.name, self.sectors, month, absent=True):
            return []
        trained = TRAINED.intersection(planner.order)
        Staged.of(planner.plan(trained, self.sectors, month, month), profile, defs, 1).execute(lambda *_: None)
        return [
            key(sector, month) for sector in self.sectors if not profile.store.missing(dataset, [key(sector, month)])
        ]

    def entries(self) -> dict[date, set[str]]:
        """Sectors that said something, by session."""
        dataset = self.profile.every_dataset[DECISIONS]
        found: dict[date, set[str]] = {}
        for sector, day in map(dataset.grain.parse, self.profile.store.existing(dataset)):
            found.setdefault(date.fromisoformat(day), set()).add(str(sector))
        return found

    def differing(self, first: str, last: str, since: str | None = None) -> list[str]:
        """Partitions of months that are not, byte for byte, what `quant run` makes in an empty storage; those that
        only one of the two has.

        Args:
            first, last: months that are compared.
            since: month from which on both have a history; the first one where None.

        """
        fresh = self.folder / "fresh"
        ours = self.profile
        theirs = Profile(load_settings(self.name, storage=str(fresh)))
        before = os.environ.get("QUANT__STORAGE"), os.environ.pop("DAGSTER_HOME", None)
        os.environ["QUANT__STORAGE"] = str(fresh)
        dagster_home(self.name)
        planner = materialised(theirs, self.sectors, since or first, last)
        os.environ.pop("QUANT__STORAGE") if before[0] is None else os.environ.update(QUANT__STORAGE=before[0])
        os.environ.pop("DAGSTER_HOME", None) if before[1] is None else os.environ.update(DAGSTER_HOME=before[1])
        found = []
        for name in planner.order:
            dataset = theirs.datasets[name]
            for each in dataset.grain.keys(month_range(first, last), self.sectors):
                paths = [Path(of.store.path(of.datasets[name], each)) for of in (ours, theirs)]
                if not same_partition(*paths):
                    found.append(f"{name} {each}")
        return found


def same_partition(path: Path, other: Path) -> bool:
    """Whether two files are alike, but for the provider's files as they were when the rows were made.

    A revision changes these; a month of which it changes no row is not made again.
    """
    if not (path.exists() and other.exists()):
        return path.exists() == other.exists()
    if path.read_bytes() == other.read_bytes():
        return True
    told = [dict(pq.read_metadata(each).metadata or {}) for each in (path, other)]
    made = [json.loads(each.pop(b"made_by", b"{}")) for each in told]
    sources = [each.pop("sources", None) for each in made]
    if sources[0] == sources[1]:
        return False
    same_rows: bool = pq.read_table(path).equals(pq.read_table(other))
    return same_rows and made[0] == made[1] and told[0] == told[1]


def materialised(profile: Profile, sectors: Sequence[str], first: str, last: str) -> Planner:
    """Have every asset of a span of months as `quant run` makes them; the planner of it."""
    defs = build_defs(profile.settings)
    planner = Planner(defs, profile)
    Staged.of(planner.plan(planner.order, sectors, first, last), profile, defs, 1).execute(lambda *_: None)
    return planner


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(base)
    for name, value in over.items():
        made[name] = (
            _merged(made[name], value) if isinstance(value, dict) and isinstance(made.get(name), dict) else value
        )
    return made


@contextmanager
def daemon(simulation: Simulation) -> Iterator[subprocess.Popen[bytes]]:
    """A real daemon with its queue and code server, in a session of its own so that it can be killed whole."""
    log = (simulation.folder / "daemon.log").open("ab")
    command = [str(Path(sys.executable).parent / "dagster-daemon"), "run", "-m", CODE_LOCATION]
    process = subprocess.Popen(
        command, cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=dict(os.environ)
    )
    try:
        yield process
    finally:
        killed(process)
        log.close()


def killed(process: subprocess.Popen[bytes]) -> None:
    """Kill -9 a daemon and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Quarter:
    """Sessions with a real daemon: what schedules and sensors ask for is put into its queue at once.

    Their clocks are real ones, so that they are asked here instead of waited for. Every `kill_every`-th session the
    daemon is killed while its run is under way, and the session is missed: the next tick catches it up.
    """

    def __init__(self, simulation: Simulation, kill_every: int, files: CorrectedFiles | None) -> None:
        self._simulation, self._kill_every, self._files = simulation, kill_every, files
        self.told: dict[str, Any] = {
            "sessions": 0,
            "killed": [],
            "skipped": {},
            "trained": [],
            "changed": {},
            "backfills": [],
        }

    def run(self, days: Sequence[date]) -> dict[str, Any]:
        """Simulate, with one daemon until it is killed; figures for a record."""
        simulation, left = self._simulation, list(enumerate(days, 1))
        while left:
            with dg.DagsterInstance.get() as instance, daemon(simulation) as process:
                while left and process.poll() is None:
                    number, day = left.pop(0)
                    simulation.at(day)
                    if self._files is not None and (changed := self._files.at(day)):
                        self.told["changed"][str(day)] = changed
                    self._session(day, instance, process if number % self._kill_every == 0 else None)
                    self.told["sessions"] += 1
                    sys.stdout.write(f"{day}: {len(simulation.entries())} sessions said\n")
                    sys.stdout.flush()
        with dg.DagsterInstance.get() as instance:
            for _ in range(3):  # what was killed last, then what was waiting for the last training
                request = simulation.tick("before_open", days[-1], 23, instance)
                if isinstance(request, str):
                    break
                simulation.executed(request, instance)
        missing = [str(day) for day in days if simulation.entries().get(day) != set(simulation.sectors)]
        since = None if self._files is None else OF_FILES["partitions"]["start"]
        differing = simulation.differing(month_of(days[0]), month_of(days[-1]), since)
        return self.told | {"missing": missing, "differing": differing}

    def _session(self, day: date, instance: dg.DagsterInstance, kill: "subprocess.Popen[bytes] | None") -> None:
        simulation = self._simulation
        request = simulation.tick("after_close", day, 17, instance)
        if isinstance(request, str):
            self.told["skipped"][str(day)] = request
        else:
            (job,) = live_automation(simulation.profile).jobs or ()
            run_id = submit_assets(instance, job, None, CODE_LOCATION, request.tags, request.run_config)  # type: ignore[arg-type]
            _followed(instance, run_id, kill)
            if kill is not None:
                self.told["killed"].append(str(day))
                run = instance.get_run_by_id(run_id)
                if run is not None and not run.is_finished:
                    instance.report_run_failed(run, "its processes were killed")
                return
        self._retrain(instance)
        self._revise(instance)

    def _retrain(self, instance: dg.DagsterInstance) -> None:
        moment = Moment(self._simulation.name)
        for asked in Tick.at(moment, instance, time.time()).decision.asked:
            request = asked.request
            partition = {"dagster/partition": request.partition_key} if request.partition_key else {}
            tags = {**request.tags, **partition}
            assets = [each.path[-1] for each in request.asset_selection or ()]
            job = moment.defs.resolve_implicit_global_asset_job_def()
            run_id = submit_assets(instance, job, assets, CODE_LOCATION, tags)
            _followed(instance, run_id, None)
            run = instance.get_run_by_id(run_id)
            status = "gone" if run is None else run.status.value
            self.told["trained"].append(
                f"{asked.standing.place.said} {request.partition_key}: {status}; {tags[REASONS]}"
            )

    def _revise(self, instance: dg.DagsterInstance) -> None:
        request = revise_tick(Moment(self._simulation.name), instance, time.time())
        if not isinstance(request, dg.RunRequest):
            return
        before = {each.backfill_id for each in instance.get_backfills()}
        _followed(instance, submit_assets(instance, revise_job(), None, CODE_LOCATION, request.tags), None)
        for backfill in instance.get_backfills():
            if backfill.backfill_id not in before:
                status = _backfilled(instance, backfill.backfill_id)
                self.told["backfills"].append(f"{backfill.title}: {status}")


def _followed(instance: dg.DagsterInstance, run_id: str, kill: "subprocess.Popen[bytes] | None") -> None:
    """Wait until a run has ended, or until it has begun and kill the daemon."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return
        if kill is not None and run.status == dg.DagsterRunStatus.STARTED:
            killed(kill)
            return
        time.sleep(0.5)
    raise TimeoutError(f"run {run_id} has not ended after {_PATIENCE} seconds")


def _backfilled(instance: dg.DagsterInstance, backfill_id: str) -> str:
    """Wait until a backfill has ended; its status."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if backfill_id not in unfinished_backfills(instance):
            found = instance.get_backfill(backfill_id)
            return "gone" if found is None else str(found.status.value)
        time.sleep(0.5)
    raise TimeoutError(f"backfill {backfill_id} has not ended after {_PATIENCE} seconds")


def main() -> None:
    """Simulate a quarter; prints what happened as JSON, and ends with status 1 where anything is missing or differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, help="real files; without them the demo's market")
    parser.add_argument("--first", type=date.fromisoformat)
    parser.add_argument("--last", type=date.fromisoformat)
    parser.add_argument("--kill-every", type=int, default=10)
    given = parser.parse_args()
    first, last = (date(2020, 10, 1), date(2020, 12, 31)) if given.data else (date(2024, 10, 1), date(2024, 12, 31))
    days = sessions(given.first or first, given.last or last).tolist()
    files = None
    if given.data:
        # The bar is corrected in the middle; the statement comes at a session when none was missed before.
        middle, late = days[len(days) // 2], days[2 * len(days) // 3]
        files = CorrectedFiles(given.folder / "data", given.data, "Utilities", middle, late)
        os.environ["QUANT_DATA_DIR"] = str(files.folder)
        simulation = Simulation(given.folder, days[0], ("utilities",), base="files", settings=OF_FILES, name="quarter")
    else:
        simulation = Simulation(given.folder, days[0], name="quarter")
    simulation.at(days[0])
    os.environ["QUANT_PROFILE"] = simulation.name
    dagster_home(simulation.name)
    initialise_instance()
    if files is not None:
        first_month = OF_FILES["partitions"]["start"]
        materialised(simulation.profile, simulation.sectors, first_month, shift_month(month_of(days[0]), -1))
    told = Quarter(simulation, given.kill_every, files).run(days)
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    sys.exit(bool(told["missing"] or told["differing"]))


if __name__ == "__main__":
    main()
