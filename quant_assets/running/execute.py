"""Executing a plan: one process for each sector, runs recorded in the profile's Dagster instance, progress on the way."""

import logging
import multiprocessing
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import Any

import dagster as dg

from quant_assets.errors import QuantError
from quant_assets.running.plan import Phase
from quant_assets.settings import ROOT, conf_dir

#: (dataset, partitions written)
Progress = Callable[[str, int], None]


class RunFailedError(QuantError):
    """A run failed; the message is that of the first failing step."""


def dagster_home(profile: str) -> Path:
    """Folder of the Dagster instance: `DAGSTER_HOME`, else `storage/dagster/<profile>`, made from `conf/dagster.yaml`.

    Profiles have partitions of their own, so each has an instance of its own.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or ROOT / "storage" / "dagster" / profile).absolute()
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        shutil.copyfile(conf_dir() / "dagster.yaml", config)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def initialise_instance() -> None:
    """Create the instance's tables: two first processes at once on an empty SQLite home would corrupt it."""
    with dg.DagsterInstance.get() as instance:
        instance.get_run_records(limit=1)
        instance.all_asset_keys()


def execute(plan: Sequence[Sequence[Phase]], profile: str, workers: int, progress: Progress) -> None:
    """Execute chains of phases, each chain in order, chains beside each other.

    Args:
        plan: one chain per sector.
        profile: name of the profile.
        workers: processes at a time; with 1 everything runs in this process.
        progress: called in this process for each dataset written.

    Raises:
        RunFailedError: a run failed. Chains that had begun are finished first; what they wrote stays.

    """
    chains = [list(chain) for chain in plan if chain]
    if not chains:
        return
    initialise_instance()
    if workers == 1 or len(chains) == 1:
        for chain in chains:
            _execute_chain(chain, profile, progress)
        return
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(min(workers, len(chains)), mp_context=context) as pool:
        written: Any = manager.Queue()
        futures = [pool.submit(_execute_in_worker, chain, profile, written) for chain in chains]
        pending = set(futures)
        while pending:
            _drain(written, progress)
            pending = {future for future in pending if not future.done()}
        for future in as_completed(futures):
            error = future.exception()
            if error is not None:
                pool.shutdown(cancel_futures=True)
                raise error
        _drain(written, progress)


def _drain(written: "Queue[tuple[str, int]]", progress: Progress) -> None:
    while True:
        try:
            dataset, partitions = written.get(timeout=0.2)
        except Empty:
            return
        progress(dataset, partitions)


def _execute_in_worker(chain: Sequence[Phase], profile: str, written: "Queue[tuple[str, int]]") -> None:
    _execute_chain(chain, profile, lambda dataset, partitions: written.put((dataset, partitions)))


def _execute_chain(chain: Sequence[Phase], profile: str, progress: Progress) -> None:
    from quant_assets.definitions import build_defs
    from quant_assets.settings import load_settings

    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    job = build_defs(load_settings(profile), progress).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        for phase in chain:
            run = job.get_subset(asset_selection={dg.AssetKey(name) for name in phase.assets})
            result = run.execute_in_process(
                instance=instance,
                tags=phase.range_tags,
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            if not result.success:
                raise RunFailedError(_reason(result, phase))


def _reason(result: dg.ExecuteInProcessResult, phase: Phase) -> str:
    """The message of the first step that failed, or of the check that blocked."""
    where = f"{phase.sector or 'month'} {phase.first} to {phase.last}"
    for event in result.all_events:
        checked = event.asset_check_evaluation_data if event.event_type_value == "ASSET_CHECK_EVALUATION" else None
        if checked is not None and not checked.passed and checked.severity == dg.AssetCheckSeverity.ERROR:
            return f"check '{checked.check_name}' of '{checked.asset_key.path[-1]}' failed ({where}): {checked.description}"
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            message = " ".join((error.message if error else "unknown error").split())
            message = message.split(": ", 1)[1] if message.startswith("quant_assets.errors.") else message
            return f"{event.step_key} ({where}): {message}"
    return f"run failed ({where}); see it in the web UI, run {result.run_id}"
