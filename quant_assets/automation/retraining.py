"""Which trainings are asked for now: what is due, less what is in flight, has been tried, or lacks its inputs."""

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

#: Origin of the runs that are asked for here, and the tags of what they train and of their sector, `market` for all.
RETRAIN, DATASET, SECTOR = "retrain", "quant/dataset", "quant/sector"

#: Characters of the reasons in a tag, which PostgreSQL keeps in an index.
_MOST = 500


@dataclass(frozen=True)
class Asked:
    """A run that is asked for.

    Attributes:
        standing: what it answers.
        attempt: how often that has been tried, this time included.
        number: how many runs have ever answered it, this one included.

    """

    standing: Standing
    attempt: int
    number: int

    @property
    def request(self) -> dg.RunRequest:
        """The request, with tags that say why it exists."""
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
    """What a tick asks for, and why not for more.

    Attributes:
        asked: the runs, the most urgent first.
        held: why what is due is held back.

    """

    asked: tuple[Asked, ...] = ()
    held: Mapping[Place, str] = field(default_factory=dict)


def place_tags(place: Place) -> dict[str, str]:
    """Tags by which the runs that were asked for here for a place are found again."""
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
    """Decide which of the places that are due are asked for.

    What a training begins from comes first: a sector's waits as long as the market's is due and may still come.

    Args:
        standings: of the places; those without reasons ask for nothing.
        work: in flight, of any origin.
        tried: gives what became of the runs that were asked for here for a place, oldest first.
        obstacle: gives what of a training's inputs is not as it must be, and the command that puts it right.
        read: of each dataset that is trained, first and last month of what its trainings read, relative to their own.
        settings: cap, attempts and pauses.
        now: Unix time.

    """
    asked, held, coming = list[Asked](), dict[Place, str](), dict[str, Standing]()
    due = [each for each in standings if each.reasons]
    order = [None, *SECTORS]

    def rank(each: Standing) -> tuple[bool, bool, int, int]:
        return each.place.sector is not None, not each.urgent, -len(each.reasons), order.index(each.place.sector)

    for standing in sorted(due, key=rank):
        attempts, reads = tried(standing.place), read[standing.place.dataset]
        ended = _ended(standing, attempts, settings)
        if standing.place.sector is None and ended is None:
            coming[standing.place.dataset] = standing
        why = (
            _in_flight(standing, work, reads)
            or ended
            or _tried(standing, attempts, settings, now)
            or _comes_first(standing, coming, reads)
            or obstacle(standing)
        )
        if why is None and len(asked) == settings.max_requests:
            why = f"{settings.max_requests} runs are asked for at once (retraining.max_requests), the next tick goes on"
        if why is not None:
            held[standing.place] = why
            continue
        number = sum(each.tags.get(TRIGGER) == standing.trigger for each in attempts)
        asked.append(Asked(standing, len(_of_now(standing, attempts)) + 1, number + 1))
    return Decision(tuple(asked), held)


def _comes_first(standing: Standing, coming: Mapping[str, Standing], read: Mapping[str, tuple[int, int]]) -> str | None:
    for name, (before, after) in read.items():
        other = coming.get(name)
        first, last = shift_month(standing.first, before), shift_month(standing.last, after)
        if other and other.first <= last and first <= other.last:
            return f"{name} of {other.first} is due first"
    return None


def _in_flight(standing: Standing, work: Sequence[Work], read: Mapping[str, tuple[int, int]]) -> str | None:
    first, last, (dataset, sector) = standing.first, standing.last, standing.place
    for each in work:
        if each.touches([dataset], sector, first, last):
            return f"run {each.run_id[:8]} ({_origin(each)}) is in flight on {each.where}"
        for name, (before, after) in read.items():
            # The market's training reads every sector, and a sector's may read what is the market's.
            places: tuple[str | None, ...] = (sector,) if sector and each.sectors else each.sectors or (None,)
            span = shift_month(first, before), shift_month(last, after)
            if any(each.touches([name], place, *span) for place in places):
                return f"run {each.run_id[:8]} ({_origin(each)}) writes {name} that it reads: {each.where}"
    return None


def _origin(work: Work) -> str:
    named = work.tags.get(ORIGIN) or work.tags.get("dagster/schedule_name") or work.tags.get("dagster/sensor_name")
    return named or ("a backfill" if "dagster/backfill" in work.tags else "asked for by a person")


def _of_now(standing: Standing, attempts: Sequence[Attempt]) -> list[Attempt]:
    """The newest attempts that answer this state of things: the same after another one has passed are history."""
    found = list[Attempt]()
    for attempt in reversed(attempts):
        if attempt.tags.get(TRIGGER) != standing.trigger:
            break
        found.append(attempt)
    return found[::-1]


def _tried(standing: Standing, attempts: Sequence[Attempt], settings: RetrainingSettings, now: float) -> str | None:
    """Why an earlier attempt keeps a place back for a while."""
    for each in attempts:
        if each.state == "unfinished":
            return f"run {each.run_id[:8]} has not ended, or Dagster will retry it"
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
    """Why no further attempt is made, whatever the time; None as long as one may be."""
    own = _of_now(standing, attempts)
    if not own or any(each.state == "unfinished" for each in attempts):
        return None
    newest, run = own[-1], f"run {own[-1].run_id[:8]}"
    if newest.state == "succeeded":
        return f"{run} has trained for this already, and nothing new came of it"
    if len(own) >= settings.max_attempts:
        return (
            f"given up after {len(own)} attempts, the last is {run} ({newest.state}): "
            "mend the cause and materialise it by hand, or wait until what is asked for changes"
        )
    return None
