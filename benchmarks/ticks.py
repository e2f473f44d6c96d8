"""What schedules and sensors cost on a storage and an instance that exist, when there is nothing for them to do.

    python -m benchmarks.ticks --profile files [--seconds 600]

First what a process loads once, before any look: libraries, calendar and the graph. Of each: processor seconds of the
first look of a process, of the next, and what it says. Then, with --seconds, the
daemon is run with all of them on, and the share of a core that it, its code server and their children take is measured:
that is what they cost with Dagster's own work around them. They are turned off again afterwards.
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
from quant_assets.profile import Profile
from quant_assets.running.instance import dagster_home
from quant_assets.running.launching import CODE_LOCATION
from quant_assets.settings.loading import load_settings

#: Seconds after a start of the daemon that are not counted: it loads the code.
_WARM_UP = 60
Looks = dg.SensorDefinition | dg.ScheduleDefinition


def look(each: Looks, instance: dg.DagsterInstance) -> tuple[float, str]:
    """Processor seconds of a look, and what it says."""
    began = time.process_time()
    if isinstance(each, dg.SensorDefinition):
        found = each.evaluate_tick(dg.build_sensor_context(instance=instance))
    else:
        at = datetime.now(ZoneInfo(NEW_YORK))
        found = each.evaluate_tick(dg.build_schedule_context(instance=instance, scheduled_execution_time=at))
    seconds = time.process_time() - began
    asked = f"asks for {len(found.run_requests)} runs" if found.run_requests else ""
    return seconds, (asked or found.skip_message or "nothing").splitlines()[0][:120]


def loaded(name: str) -> float:
    """Processor seconds of what every process of the code server loads once, whichever looks first."""
    began = time.process_time()
    moment = Moment(name)
    moment.profile.last_session()
    moment.planner  # noqa: B018 - it is made when asked for
    return time.process_time() - began


def stored(profile: Profile) -> int:
    """Partitions in the storage."""
    return sum(len(profile.store.existing(dataset)) for dataset in profile.every_dataset.values())


def watched(seconds: int) -> float:
    """Share of a core that a daemon takes with its code server and children."""
    program = str(Path(sys.executable).parent / "dagster-daemon")
    daemon = psutil.Popen([program, "run", "-m", CODE_LOCATION])
    try:
        time.sleep(_WARM_UP)
        before, began = _used(daemon), time.monotonic()
        time.sleep(seconds)
        return (_used(daemon) - before) / (time.monotonic() - began)
    finally:
        for each in (*daemon.children(recursive=True), daemon):
            each.terminate()
        daemon.wait(60)


def _used(process: psutil.Process) -> float:
    """Processor seconds of a process and of all that it has started, also of those that have ended."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(one.user + one.system + one.children_user + one.children_system for one in times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="files")
    parser.add_argument("--seconds", type=int, default=0)
    given = parser.parse_args()
    dagster_home(given.profile)
    profile = Profile(load_settings(given.profile))
    own = automation(profile)
    with dg.DagsterInstance.get() as instance:
        sys.stdout.write(f"{stored(profile):,} partitions stored, {instance.get_runs_count():,} runs\n")
        sys.stdout.write(f"loaded once by a process: {loaded(given.profile):.2f} CPU s\n")
        every: list[Looks] = [*(own.sensors or ()), *(own.schedules or ())]  # type: ignore[list-item]
        for each in every:
            if isinstance(each, dg.RunStatusSensorDefinition):
                continue  # it looks at events of runs that have failed alone, in the daemon
            looks = [look(each, instance) for _ in range(3)]
            shown = ", ".join(f"{seconds:.2f}" for seconds, _ in looks)
            sys.stdout.write(f"{each.name}: {shown} CPU s; {looks[-1][1]}\n")
    if given.seconds:
        sys.stdout.write(f"daemon and code server: {watched(given.seconds):.2%} of a core\n")


if __name__ == "__main__":
    main()
