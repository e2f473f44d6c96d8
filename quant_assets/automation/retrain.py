"""`retrain`: asks for the trainings that are due, one run for each sector.

It keeps no state: what is due follows from the storage (`retraining_facts`), what is asked for from that and the run
records (`retraining`).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from quant_assets.automation.moment import Moment
from quant_assets.automation.retraining import RETRAIN, SECTOR, Decision, decide
from quant_assets.automation.retraining_facts import Facts, Standing, newest_closed
from quant_assets.automation.status import default_status
from quant_assets.errors import QuantError
from quant_assets.partitions import describe, parse_key
from quant_assets.planning.plan import Planner
from quant_assets.planning.staleness import Staleness
from quant_assets.profile import Profile
from quant_assets.provenance.record import PartitionRecorder
from quant_assets.running.work import ORIGIN, attempts, in_flight
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.sectors import SECTORS

_INTERVAL_SECONDS = 300


def retrain_sensor(profile: Profile, interval_seconds: int = _INTERVAL_SECONDS) -> dg.SensorDefinition:
    """The sensor of a profile."""
    name = profile.settings.profile

    @dg.sensor(
        name=RETRAIN,
        target=dg.AssetSelection.assets(CHECKPOINTS.name),
        minimum_interval_seconds=interval_seconds,
        default_status=default_status(profile.settings, dg.DefaultSensorStatus),
        description=(
            "Asks for a sector's training when its month has closed, when features drifted, the realised rank IC is "
            "low, or code or settings changed."
        ),
    )
    def retrain(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        tick = Tick.at(Moment(name), context.instance, time.time())
        text = "\n".join(tick.said())
        if not tick.decision.asked:
            return dg.SensorResult(skip_reason=text)
        context.log.info(text)
        return dg.SensorResult(run_requests=[each.request for each in tick.decision.asked])

    return retrain


@dataclass(frozen=True)
class Tick:
    """What one look at storage and run records comes to.

    Attributes:
        month: the newest closed one; None where none has closed.
        standings: of the sectors that have checkpoints, by sector.
        unread: what could not be read, by sector.
        decision: what is asked for.

    """

    month: str | None
    standings: Mapping[str, Standing]
    unread: Mapping[str, str]
    decision: Decision

    @classmethod
    def at(cls, moment: Moment, instance: dg.DagsterInstance, now: float) -> "Tick":
        """Look."""
        profile, recorder = moment.profile, _recorder(moment)
        month = newest_closed(profile)
        if month is None:
            return cls(None, {}, {}, Decision())
        staleness = Staleness(profile, recorder)
        facts = Facts(profile, staleness, _matures(recorder, "labels"))
        standings, unread = dict[str, Standing](), dict[str, str]()
        for sector in SECTORS:
            try:
                found = facts.standing(sector, month)
            except QuantError as error:
                unread[sector] = str(error)
                continue
            if found is not None:
                standings[sector] = found
        due = [each for each in standings.values() if each.reasons]
        if not due:
            return cls(month, standings, unread, Decision())
        inputs = Inputs(moment, staleness)
        decision = decide(
            due,
            in_flight(instance),
            lambda sector: attempts(instance, {ORIGIN: RETRAIN, SECTOR: sector}),
            inputs.obstacle,
            recorder.versions[CHECKPOINTS.name].windows,
            profile.settings.retraining,
            now,
        )
        return cls(month, standings, unread, decision)

    def said(self) -> list[str]:
        """A line for each sector that is asked for or held back, and one for all the others."""
        if self.month is None:
            return ["no month of the profile has closed"]
        lines = [
            f"{each.standing.sector} {_span(each.standing)}: asked for, attempt {each.attempt}; {_why(each.standing)}"
            for each in self.decision.asked
        ]
        for sector, why in self.decision.held.items():
            standing = self.standings[sector]
            lines.append(f"{sector} {_span(standing)}: held back: {why}; {_why(standing)}")
        lines += [f"{sector}: held back: {why}" for sector, why in self.unread.items()]
        quiet = [sector for sector, each in self.standings.items() if not each.reasons]
        if quiet:
            lines.append(f"nothing is due at the close of {self.month}: {_listed(quiet)}")
        untold: dict[str, list[str]] = {}
        for sector, each in self.standings.items():
            for what in each.untold:
                untold.setdefault(what, []).append(sector)
        lines += [f"not judged, {what}: {_listed(sectors)}" for what, sectors in untold.items()]
        others = [each for each in SECTORS if each not in self.standings and each not in self.unread]
        return [*lines, f"without any checkpoint so far, so not asked for: {_listed(others)}"] if others else lines


class Inputs:
    """Whether what a training reads is as it must be.

    Args:
        moment: of the tick.
        staleness: of its profile.

    """

    def __init__(self, moment: Moment, staleness: Staleness) -> None:
        self._profile, self._staleness, self._recorder = moment.profile, staleness, _recorder(moment)
        others = [name for name in moment.planner.order if name != CHECKPOINTS.name]
        self._planner = Planner(moment.defs, moment.profile, stored_only=others)

    def obstacle(self, standing: Standing) -> str | None:
        """What is missing, early or stale of a training's inputs, and the command that mends it."""
        profile, (first, last) = self._profile, (standing.first, standing.last)
        plan = self._planner.plan([CHECKPOINTS.name], [standing.sector], first, last)
        for name, keys in plan.stored.items():
            dataset = profile.datasets[name]
            if not keys:
                continue
            if absent := profile.store.missing(dataset, keys):
                return self._mended(standing, f"{name} of {_months(absent)} is missing")
            matures = _matures(self._recorder, name)
            early, stale = list[str](), dict[str, list[str]]()
            for each in sorted(keys):
                # As the run itself reads it: of what matures, what was known at the close of its last month is enough.
                needed = min(profile.known_through(parse_key(each)[1], matures), profile.known_through(last))
                recorded = profile.store.recorded(dataset, each)
                if not recorded.same_columns:
                    stale.setdefault("written with other columns", []).append(each)
                elif recorded.known_through is not None and recorded.known_through < needed:
                    early.append(each)
                elif why := self._staleness.own(name, each):
                    stale.setdefault(why, []).append(each)
            if early:
                return self._mended(standing, f"{name} of {_months(early)} was written before all was known")
            for why, old in stale.items():
                return self._mended(standing, f"{name} of {_months(old)} is stale ({why})", " --refresh")
        return None

    def _mended(self, standing: Standing, what: str, more: str = "") -> str:
        span = f"--from {standing.first} --to {standing.last}"
        command = f"quant run -p {self._profile.settings.profile} -s {standing.sector} {span}"
        return f"{what}; {command} --select {CHECKPOINTS.name}{more}"


def _recorder(moment: Moment) -> PartitionRecorder:
    found: PartitionRecorder = (moment.defs.resources or {})["parquet"].recorder
    return found


def _matures(recorder: PartitionRecorder, name: str) -> int:
    """Months by which an asset looks ahead."""
    return max((last for _, last in recorder.versions[name].windows.values()), default=0)


def _months(keys: Sequence[str]) -> str:
    return describe([parse_key(each)[1] for each in keys], most=3)


def _span(standing: Standing) -> str:
    return standing.first if standing.first == standing.last else f"{standing.first} to {standing.last}"


def _why(standing: Standing) -> str:
    return "; ".join(f"{name}: {why}" for name, why in standing.reasons.items())


def _listed(sectors: Sequence[str]) -> str:
    return "all sectors" if len(sectors) == len(SECTORS) else ", ".join(sectors)
