"""Refusal of a command whose partitions another run of the instance is writing.

The reverse needs no check: the runs of a command carry the tags that limit the instance's queue.
"""

from collections.abc import Iterable

import dagster as dg

from quant_assets.errors import QuantError
from quant_assets.planning.plan import Phase
from quant_assets.running.queue import place_tags, told_tags
from quant_assets.running.work import ORIGIN, Work, work_of

_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]

#: Remedy other than waiting.
_QUEUE = "add --submit: the queue starts these runs after it"

#: Most assets to name in a message.
_NAMED = 3

#: Origin of the runs of a command.
COMMAND = "quant run"


class InFlightError(QuantError):
    """Another run writes the same partitions; names the run, its origin and partitions."""


def command_tags(phase: Phase) -> dict[str, str]:
    """Tags of a run of a command: its partitions, also in words, its origin, and those that limit the queue."""
    told = told_tags(phase.assets, phase.sectors, phase.first, phase.last)
    return {**phase.range_tags, **told, **place_tags(phase.assets, phase.sectors), ORIGIN: COMMAND}


def refuse_in_flight(instance: dg.DagsterInstance, phases: Iterable[Phase], remedy: str = _QUEUE) -> None:
    """Refuse phases that write partitions which an executing run writes too.

    Runs that wait in the queue are no conflict: they wait for this one.

    Args:
        instance: its records are read.
        phases: to begin.
        remedy: other than waiting, for the message.

    Raises:
        InFlightError: a phase conflicts with a run.

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
                    f"end, cancel it in the web UI, or {remedy}"
                )


def _shared(work: Work, phase: Phase) -> list[str]:
    places = phase.sectors or (None,)
    return [
        name for name in phase.assets if any(work.touches([name], place, phase.first, phase.last) for place in places)
    ]


def _origin(work: Work) -> str:
    """What started a run, by its tags."""
    kinds = {ORIGIN: "", "dagster/schedule_name": "schedule ", "dagster/sensor_name": "sensor "}
    origins = [f"{kind}{work.tags[tag]}" for tag, kind in kinds.items() if tag in work.tags]
    return f" ({origins[0]})" if origins else " (of a backfill)" if "dagster/backfill" in work.tags else ""
