"""Costs of schedules and sensors on an existing storage and instance when there is nothing to do.

    python -m benchmarks.ticks --profile files [--seconds 600]

First the CPU seconds of what a process loads once: libraries, calendar and the graph. Then for each schedule and sensor
the CPU seconds of its first and second evaluation in a process, and its message. With --seconds the daemon then runs
with all of them on, and the share of a core of the daemon, its code server and their children is measured, which
includes Dagster's own work. They are turned off again afterwards.
"""

import argparse
import sys
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import psutil

from quant_assets.automation.after_close import NEW_YORK
from quant_assets.automation.definitions import automation
from quant_assets.automation.moment import Moment
from quant_assets.graph import build_defs
from quant_assets.profile import Profile
from quant_assets.running.instance import dagster_home
from quant_assets.running.launching import CODE_LOCATION
from quant_assets.settings.loading import load_settings

#: Seconds after the daemon's start that are not counted: it loads the code.
_WARM_UP = 60
Looks = dg.SensorDefinition | dg.ScheduleDefinition


def look(
    part: Looks, instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, at: datetime
) -> tuple[float, str]:
    """CPU seconds of an evaluation, and its message."""
    began = time.process_time()
    if isinstance(part, dg.SensorDefinition):
        result = part.evaluate_tick(dg.build_sensor_context(instance=instance, repository_def=repository))
    else:
        moment = dg.build_schedule_context(instance=instance, scheduled_execution_time=at, repository_def=repository)
        result = part.evaluate_tick(moment)
    seconds = time.process_time() - began
    requests = f"asks for {len(result.run_requests)} runs" if result.run_requests else ""
    return seconds, (requests or result.skip_message or "nothing").splitlines()[0][:120]


def loaded(name: str) -> float:
    """CPU seconds of what every process of the code server loads once."""
    began = time.process_time()
    moment = Moment(name)
    moment.profile.last_session()
    moment.planner  # noqa: B018 - it is made when asked for
    return time.process_time() - began


def stored(profile: Profile) -> int:
    """Partitions in the storage."""
    return sum(len(profile.store.existing(dataset)) for dataset in profile.every_dataset.values())


def watched(seconds: int) -> float:
    """Share of a core of a daemon with its code server and children."""
    program = str(Path(sys.executable).parent / "dagster-daemon")
    daemon = psutil.Popen([program, "run", "-m", CODE_LOCATION])
    try:
        time.sleep(_WARM_UP)
        before, began = _used(daemon), time.monotonic()
        time.sleep(seconds)
        return (_used(daemon) - before) / (time.monotonic() - began)
    finally:
        for member in (*daemon.children(recursive=True), daemon):
            member.terminate()
        daemon.wait(60)


def _used(process: psutil.Process) -> float:
    """CPU seconds of a process and all its children, including ended ones."""
    times = [member.cpu_times() for member in (process, *process.children(recursive=True))]
    return sum(item.user + item.system + item.children_user + item.children_system for item in times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="files")
    parser.add_argument("--seconds", type=int, default=0)
    args = parser.parse_args()
    dagster_home(args.profile)
    profile = Profile(load_settings(args.profile))
    definitions, at = automation(profile), datetime.now(ZoneInfo(NEW_YORK))
    repository = dg.Definitions.merge(build_defs(profile), definitions).get_repository_def()
    with dg.DagsterInstance.get() as instance:
        sys.stdout.write(f"{stored(profile):,} partitions stored, {instance.get_runs_count():,} runs\n")
        sys.stdout.write(f"loaded once by a process: {loaded(args.profile):.2f} CPU s\n")
        every: list[Looks] = [*(definitions.sensors or ()), *(definitions.schedules or ())]  # type: ignore[list-item]
        for part in every:
            if isinstance(part, dg.RunStatusSensorDefinition):
                continue  # it only handles events of failed runs, in the daemon
            looks = [look(part, instance, repository, at) for _ in range(3)]
            shown = ", ".join(f"{seconds:.2f}" for seconds, _ in looks)
            sys.stdout.write(f"{part.name}: {shown} CPU s; {looks[-1][1]}\n")
    if args.seconds:
        sys.stdout.write(f"daemon and code server: {watched(args.seconds):.2%} of a core\n")


if __name__ == "__main__":
    main()
