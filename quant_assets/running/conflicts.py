"""Runs of an instance that write, at this moment, the partitions that a command is about to write: it is refused then.

The other way round needs nothing: what a command executes carries the tags that the instance's queue goes by.
"""

from collections.abc import Iterable

import dagster as dg

from quant_assets.errors import QuantError
from quant_assets.planning.plan import Phase
from quant_assets.running.queue import place_tags, told_tags
from quant_assets.running.work import ORIGIN, Work, work_of

_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]

#: What else a person can do than to wait.
_QUEUE = "add --submit: the queue takes these after it"

#: Assets that a message names.
_NAMED = 3

#: Origin of the runs that a command executes.
COMMAND = "quant run"


class InFlightError(QuantError):
    """Another run writes the same partitions; names the run, what it is and where."""


def command_tags(phase: Phase) -> dict[str, str]:
    """Tags of a run that a command executes: its partitions, also in words, origin, and what the queue goes by."""
    told = told_tags(phase.assets, phase.sectors, phase.first, phase.last)
    return {**phase.range_tags, **told, **place_tags(phase.assets, phase.sectors), ORIGIN: COMMAND}


def refuse_in_flight(instance: dg.DagsterInstance, phases: Iterable[Phase], remedy: str = _QUEUE) -> None:
    """Refuse phases of which any writes what a run that is being executed writes too.

    A run that still waits in the queue is no such run: it waits for this one.

    Args:
        instance: whose records are read.
        phases: what is to be begun.
        remedy: what else can be done than to wait, for the message.

    Raises:
        InFlightError: one does.

    """
    runs = instance.get_runs(dg.RunsFilter(statuses=_AT_WORK))
    others = [work for run in runs if (work := work_of(run)) is not None]
    for phase in phases if others else ():
        for work in others:
            shared = _shared(work, phase)
            if shared:
                names = ", ".join(shared[:_NAMED]) + (f" and {len(shared) - _NAMED} more" if shared[_NAMED:] else "")
                raise InFlightError(
                    f"run {work.run_id}{_origin(work)} is writing {names} ({work.where}) at this moment; wait for its "
                    f"end, end it in the web UI, or {remedy}"
                )


def _shared(work: Work, phase: Phase) -> list[str]:
    places = phase.sectors or (None,)
    return [
        name for name in phase.assets if any(work.touches([name], place, phase.first, phase.last) for place in places)
    ]


def _origin(work: Work) -> str:
    """What started a run, as its tags have it."""
    kinds = {ORIGIN: "", "dagster/schedule_name": "schedule ", "dagster/sensor_name": "sensor "}
    found = [f"{kind}{work.tags[tag]}" for tag, kind in kinds.items() if tag in work.tags]
    return f" ({found[0]})" if found else " (of a backfill)" if "dagster/backfill" in work.tags else ""
