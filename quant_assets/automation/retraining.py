"""Which trainings are asked for now: what is due, less what is in flight, has been tried, or lacks its inputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from quant_assets.automation.retraining_facts import Standing
from quant_assets.partitions import shift_month
from quant_assets.planning.plan import Phase
from quant_assets.running.work import ATTEMPT, ORIGIN, REASONS, TRIGGER, Attempt, Work
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.automation import RetrainingSettings
from quant_assets.settings.sectors import SECTORS
from quant_assets.training_orders import ORDER

#: Origin of the runs that are asked for here, and the tag of their sector.
RETRAIN, SECTOR = "retrain", "quant/sector"

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
        tags = {
            ORIGIN: RETRAIN,
            SECTOR: standing.sector,
            TRIGGER: standing.trigger,
            REASONS: reasons if len(reasons) <= _MOST else f"{reasons[: _MOST - 1]}…",
            ATTEMPT: str(self.attempt),
            "dagster/priority": str(len(standing.reasons) + 10 * standing.urgent),
            **({ORDER: standing.order} if standing.order else {}),
        }
        keys = standing.keys
        if len(keys) > 1:
            phase = Phase((CHECKPOINTS.name,), standing.first, standing.last, (standing.sector,))
            tags |= phase.range_tags
        return dg.RunRequest(
            run_key=f"{RETRAIN}:{standing.sector}:{standing.trigger}:{self.number}",
            partition_key=keys[0] if len(keys) == 1 else None,
            asset_selection=[dg.AssetKey(CHECKPOINTS.name)],
            tags=tags,
        )


@dataclass(frozen=True)
class Decision:
    """What a tick asks for, and why not for more.

    Attributes:
        asked: the runs, the most urgent first.
        held: why a sector that is due is held back, by sector.

    """

    asked: tuple[Asked, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)


def decide(
    standings: Sequence[Standing],
    work: Sequence[Work],
    tried: Callable[[str], Sequence[Attempt]],
    obstacle: Callable[[Standing], str | None],
    read: Mapping[str, tuple[int, int]],
    settings: RetrainingSettings,
    now: float,
) -> Decision:
    """Decide which of the sectors that are due are asked for.

    Args:
        standings: of the sectors; those without reasons ask for nothing.
        work: in flight, of any origin.
        tried: gives what became of the runs that were asked for here for a sector, oldest first.
        obstacle: gives what of a training's inputs is not as it must be, and the command that mends it.
        read: first and last month of each asset that a training reads, relative to its own.
        settings: cap, attempts and pauses.
        now: Unix time.

    """
    asked, held = list[Asked](), dict[str, str]()
    due = [each for each in standings if each.reasons]
    order = list(SECTORS)
    for standing in sorted(due, key=lambda each: (-each.urgent, -len(each.reasons), order.index(each.sector))):
        attempts = tried(standing.sector)
        why = _in_flight(standing, work, read) or _tried(standing, attempts, settings, now) or obstacle(standing)
        if why is None and len(asked) == settings.max_requests:
            why = f"{settings.max_requests} runs are asked for at once (retraining.max_requests), the next tick goes on"
        if why is not None:
            held[standing.sector] = why
            continue
        number = sum(each.tags.get(TRIGGER) == standing.trigger for each in attempts)
        asked.append(Asked(standing, len(_of_now(standing, attempts)) + 1, number + 1))
    return Decision(tuple(asked), held)


def _in_flight(standing: Standing, work: Sequence[Work], read: Mapping[str, tuple[int, int]]) -> str | None:
    first, last = standing.first, standing.last
    for each in work:
        if each.touches([CHECKPOINTS.name], standing.sector, first, last):
            return f"run {each.run_id[:8]} ({_origin(each)}) is in flight on {each.where}"
        for name, (before, after) in read.items():
            if each.touches([name], standing.sector, shift_month(first, before), shift_month(last, after)):
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
    """Why earlier attempts keep a sector back."""
    for each in attempts:
        if each.state == "unfinished":
            return f"run {each.run_id[:8]} has not ended, or Dagster will retry it"
    own = _of_now(standing, attempts)
    if not own:
        return None
    newest, run = own[-1], f"run {own[-1].run_id[:8]}"
    if newest.state == "succeeded":
        return f"{run} has trained for this already, and nothing new came of it"
    if len(own) >= settings.max_attempts:
        return (
            f"given up after {len(own)} attempts, the last is {run} ({newest.state}): "
            "mend the cause and materialise it by hand, or wait until what is asked for changes"
        )
    ends = (newest.ended or now) + timedelta(minutes=settings.backoff_minutes * 2 ** (len(own) - 1)).total_seconds()
    if now < ends:
        return (
            f"attempt {len(own)} {newest.state} ({run}), the next one at {datetime.fromtimestamp(ends, UTC):%H:%M} UTC"
        )
    return None
