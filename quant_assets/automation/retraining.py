"""Which trainings to request now: those due, except those in flight, tried already, or without inputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from quant_assets.automation.retraining_facts import Place, Standing
from quant_assets.partitions import shift_month
from quant_assets.planning.plan import Phase
from quant_assets.running.work import ATTEMPT, ORIGIN, REASONS, TRIGGER, Attempt, Work
from quant_assets.settings.automation import RetrainingSettings
from quant_assets.settings.sectors import SECTORS
from quant_assets.training_orders import ORDER

#: Origin of the runs requested here, and the tags of their dataset and sector (`market` for all).
RETRAIN, DATASET, SECTOR = "retrain", "quant/dataset", "quant/sector"

#: Greatest length of the reasons in a tag; PostgreSQL indexes tags.
_MOST = 500


@dataclass(frozen=True)
class Asked:
    """A run to request.

    Attributes:
        standing: the state of the trainings behind it.
        attempt: number of the current attempts, this one included.
        number: number of all runs for the same state, this one included.

    """

    standing: Standing
    attempt: int
    number: int

    @property
    def request(self) -> dg.RunRequest:
        """The request, with its reasons as tags."""
        standing = self.standing
        reasons = "; ".join(f"{name}: {why}" for name, why in standing.reasons.items())
        dataset, sector = standing.place
        tags = {
            **place_tags(standing.place),
            TRIGGER: standing.trigger,
            REASONS: reasons if len(reasons) <= _MOST else f"{reasons[: _MOST - 1]}…",
            ATTEMPT: str(self.attempt),
            "dagster/priority": str(len(standing.reasons) + 10 * standing.urgent),
            **({ORDER: standing.order} if standing.order else {}),
        }
        keys = standing.keys
        if len(keys) > 1:
            phase = Phase((dataset,), standing.first, standing.last, (sector,) if sector else ())
            tags |= phase.range_tags
        return dg.RunRequest(
            run_key=f"{RETRAIN}:{dataset}:{standing.place.said}:{standing.trigger}:{self.number}",
            partition_key=keys[0] if len(keys) == 1 else None,
            asset_selection=[dg.AssetKey(dataset)],
            tags=tags,
        )


@dataclass(frozen=True)
class Decision:
    """The requests of a tick, and the reasons for the others.

    Attributes:
        asked: the runs, the most urgent first.
        held: why due trainings are held back, by place.

    """

    asked: tuple[Asked, ...] = ()
    held: Mapping[Place, str] = field(default_factory=dict)


def place_tags(place: Place) -> dict[str, str]:
    """Tags that identify the runs requested here for a place."""
    return {ORIGIN: RETRAIN, DATASET: place.dataset, SECTOR: place.said}


def decide(
    standings: Sequence[Standing],
    work: Sequence[Work],
    tried: Callable[[Place], Sequence[Attempt]],
    obstacle: Callable[[Standing], str | None],
    read: Mapping[str, Mapping[str, tuple[int, int]]],
    settings: RetrainingSettings,
    now: float,
) -> Decision:
    """Decide which due trainings to request.

    Pre-training comes first: a sector's training waits while the market's is due and can still run, an urgent one only
    if it is requested now.

    Args:
        standings: states of the places; those without reasons request nothing.
        work: runs in flight, of any origin.
        tried: returns the runs requested here for a place, oldest first.
        obstacle: returns the problem with a training's inputs and the command that fixes it.
        read: by trained dataset, first and last month of each input relative to the training's month.
        settings: greatest number of requests, attempts and pauses.
        now: Unix time.

    """
    asked, held, coming = list[Asked](), dict[Place, str](), dict[str, tuple[Standing, bool]]()
    due = [standing for standing in standings if standing.reasons]
    order = [None, *SECTORS]

    def rank(state: Standing) -> tuple[bool, bool, int, int]:
        return state.place.sector is not None, not state.urgent, -len(state.reasons), order.index(state.place.sector)

    for standing in sorted(due, key=rank):
        attempts, reads = tried(standing.place), read[standing.place.dataset]
        ended = _ended(standing, attempts, settings)
        why = (
            _in_flight(standing, work, reads)
            or ended
            or _tried(standing, attempts, settings, now)
            or _comes_first(standing, coming, reads)
        )
        lacking = None if why else obstacle(standing)
        # An input that was still lacking when another month had closed is not about to come.
        if standing.place.sector is None and ended is None and not (lacking and standing.last < standing.month):
            coming[standing.place.dataset] = standing, why is None and lacking is None
        why = why or lacking
        if why is None and len(asked) == settings.max_requests:
            why = (
                f"{settings.max_requests} runs are requested at once (retraining.max_requests), the next tick continues"
            )
        if why is not None:
            held[standing.place] = why
            continue
        number = sum(attempt.tags.get(TRIGGER) == standing.trigger for attempt in attempts)
        asked.append(Asked(standing, len(_of_now(standing, attempts)) + 1, number + 1))
    return Decision(tuple(asked), held)


def _comes_first(
    standing: Standing, coming: Mapping[str, tuple[Standing, bool]], read: Mapping[str, tuple[int, int]]
) -> str | None:
    """Why a training waits for the market's, given with whether it is requested now; an urgent one waits only then."""
    for name, (before, after) in read.items():
        if name not in coming:
            continue
        other, requested = coming[name]
        first, last = shift_month(standing.first, before), shift_month(standing.last, after)
        if (requested or not standing.urgent) and other.first <= last and first <= other.last:
            return f"{name} of {other.first} is due first"
    return None


def _in_flight(standing: Standing, work: Sequence[Work], read: Mapping[str, tuple[int, int]]) -> str | None:
    first, last, (dataset, sector) = standing.first, standing.last, standing.place
    for running in work:
        if running.touches([dataset], sector, first, last):
            return f"run {running.run_id[:8]} ({_origin(running)}) is in flight on {running.where}"
        for name, (before, after) in read.items():
            # The market's training reads all sectors, and a sector's training may read datasets of the market.
            places: tuple[str | None, ...] = (sector,) if sector and running.sectors else running.sectors or (None,)
            span = shift_month(first, before), shift_month(last, after)
            if any(running.touches([name], place, *span) for place in places):
                return f"run {running.run_id[:8]} ({_origin(running)}) writes {name} that it reads: {running.where}"
    return None


def _origin(work: Work) -> str:
    named = work.tags.get(ORIGIN) or work.tags.get("dagster/schedule_name") or work.tags.get("dagster/sensor_name")
    return named or ("a backfill" if "dagster/backfill" in work.tags else "asked for by a person")


def _of_now(standing: Standing, attempts: Sequence[Attempt]) -> list[Attempt]:
    """The newest attempts for this state; attempts before one for another state do not count."""
    newest = list[Attempt]()
    for attempt in reversed(attempts):
        if attempt.tags.get(TRIGGER) != standing.trigger:
            break
        newest.append(attempt)
    return newest[::-1]


def _tried(standing: Standing, attempts: Sequence[Attempt], settings: RetrainingSettings, now: float) -> str | None:
    """Why an earlier attempt delays the next one."""
    for attempt in attempts:
        if attempt.state == "unfinished":
            return f"run {attempt.run_id[:8]} has not ended, or Dagster will retry it"
    own = _of_now(standing, attempts)
    if not own:
        return None
    newest, run = own[-1], f"run {own[-1].run_id[:8]}"
    ends = (newest.ended or now) + timedelta(minutes=settings.backoff_minutes * 2 ** (len(own) - 1)).total_seconds()
    if now < ends:
        return (
            f"attempt {len(own)} {newest.state} ({run}), the next one at {datetime.fromtimestamp(ends, UTC):%H:%M} UTC"
        )
    return None


def _ended(standing: Standing, attempts: Sequence[Attempt], settings: RetrainingSettings) -> str | None:
    """Why there is no further attempt; None if there may be one."""
    own = _of_now(standing, attempts)
    if not own or any(attempt.state == "unfinished" for attempt in attempts):
        return None
    newest, run = own[-1], f"run {own[-1].run_id[:8]}"
    if newest.state == "succeeded":
        return f"{run} has trained for this already, without a change"
    if len(own) >= settings.max_attempts:
        return (
            f"given up after {len(own)} attempts, the last is {run} ({newest.state}): "
            "fix the cause and materialise it manually, or wait until another training is due"
        )
    return None
