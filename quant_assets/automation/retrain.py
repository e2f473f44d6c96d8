"""`retrain`: the sensor that requests due trainings, one run for each checkpoint dataset and sector (or the market).

It has no state: due trainings follow from the storage (`retraining_facts`), requests from these and the run records
(`retraining`).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import dagster as dg

from quant_assets.automation.moment import Moment
from quant_assets.automation.retraining import RETRAIN, Decision, decide, place_tags
from quant_assets.automation.retraining_facts import Facts, Place, Standing, encoders, newest_closed
from quant_assets.automation.status import default_status
from quant_assets.errors import QuantError
from quant_assets.partitions import describe, key, parse_key, shift_month
from quant_assets.planning.plan import Planner
from quant_assets.planning.staleness import Staleness
from quant_assets.profile import Profile
from quant_assets.provenance.record import PartitionRecorder
from quant_assets.running.work import attempts, in_flight
from quant_assets.schemas import TRANSFORMER_PRETRAINED
from quant_assets.settings.sectors import SECTORS

_INTERVAL_SECONDS = 300


def retrain_sensor(profile: Profile, interval_seconds: int = _INTERVAL_SECONDS) -> dg.SensorDefinition:
    """The sensor of a profile."""
    name = profile.settings.profile

    @dg.sensor(
        name=RETRAIN,
        target=dg.AssetSelection.assets(*trained(profile)),
        minimum_interval_seconds=interval_seconds,
        default_status=default_status(profile.settings, dg.DefaultSensorStatus),
        description=(
            "Requests a sector's training when its month has closed, when features drifted, the realised rank IC is "
            "low, or code or settings changed."
        ),
    )
    def retrain(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        tick = Tick.at(Moment(name), context.instance, time.time())
        text = "\n".join(tick.said())
        if not tick.decision.asked:
            return dg.SensorResult(skip_reason=text)
        context.log.info(text)
        return dg.SensorResult(run_requests=[run.request for run in tick.decision.asked])

    return retrain


def trained(profile: Profile) -> list[str]:
    """The checkpoint datasets of a profile: the market's first, then those of its models by sector."""
    market = [TRANSFORMER_PRETRAINED.name] if profile.models.pretraining_cadences else []
    return [*market, *profile.models.checkpoints]


@dataclass(frozen=True)
class Tick:
    """The result of one look at storage and run records.

    Attributes:
        month: the newest closed month; None without one.
        standings: states of the places that have been trained.
        unread: errors of places that could not be read.
        decision: the requests.
        datasets: checkpoint datasets.

    """

    month: str | None
    standings: Mapping[Place, Standing]
    unread: Mapping[Place, str]
    decision: Decision
    datasets: Sequence[str] = ()

    @classmethod
    def at(cls, moment: Moment, instance: dg.DagsterInstance, now: float) -> "Tick":
        """Read storage and run records, and decide."""
        profile, recorder = moment.profile, _recorder(moment)
        month = newest_closed(profile)
        if month is None:
            return cls(None, {}, {}, Decision())
        staleness, datasets = Staleness(profile, recorder), trained(profile)
        standings, unread = dict[Place, Standing](), dict[Place, str]()
        for place, look in _looks(profile, staleness, _matures(recorder, "labels"), month):
            try:
                standing = look()
            except QuantError as error:
                unread[place] = str(error)
                continue
            if standing is not None:
                standings[place] = standing
        due = [state for state in standings.values() if state.reasons]
        if not due:
            return cls(month, standings, unread, Decision(), datasets)
        inputs = Inputs(moment, staleness)
        decision = decide(
            due,
            in_flight(instance),
            lambda place: attempts(instance, place_tags(place)),
            inputs.obstacle,
            {name: recorder.versions[name].windows for name in datasets},
            profile.settings.retraining,
            now,
        )
        return cls(month, standings, unread, decision, datasets)

    def said(self) -> list[str]:
        """One line for each place that is requested or held back, and one for all others of a dataset."""
        if self.month is None:
            return ["no month of the profile has closed"]
        lines = [
            f"{self._place(run.standing)}: requested, attempt {run.attempt}; {_why(run.standing)}"
            for run in self.decision.asked
        ]
        for place, why in self.decision.held.items():
            standing = self.standings[place]
            lines.append(f"{self._place(standing)}: held back: {why}; {_why(standing)}")
        lines += [f"{place.said}{self._of(place.dataset)}: held back: {why}" for place, why in self.unread.items()]
        for dataset in self.datasets:
            lines += self._quiet(dataset)
        return lines

    def _quiet(self, dataset: str) -> Iterator[str]:
        """Lines on a dataset: places without reasons, reasons that could not be judged, places without checkpoints."""
        standings = {place: standing for place, standing in self.standings.items() if place.dataset == dataset}
        if quiet := [place.said for place, standing in standings.items() if not standing.reasons]:
            yield f"nothing is due at the close of {self.month}{self._of(dataset)}: {_listed(quiet)}"
        untold: dict[str, list[str]] = {}
        for place, standing in standings.items():
            for what in standing.untold:
                untold.setdefault(what, []).append(place.said)
        for what, sectors in untold.items():
            yield f"not judged{self._of(dataset)}, {what}: {_listed(sectors)}"
        places = [Place(dataset, sector) for sector in ((None,) if _of_market(dataset) else SECTORS)]
        if others := [place.said for place in places if place not in self.standings and place not in self.unread]:
            yield f"without any checkpoint so far{self._of(dataset)}, so not requested: {_listed(others)}"

    def _place(self, standing: Standing) -> str:
        return f"{standing.place.said} {_span(standing)}{self._of(standing.place.dataset)}"

    def _of(self, dataset: str) -> str:
        """The dataset, if there are several."""
        return f", {dataset}" if len(self.datasets) > 1 else ""


def _looks(
    profile: Profile, staleness: Staleness, matures: int, month: str
) -> Iterator[tuple[Place, Callable[[], Standing | None]]]:
    for dataset in trained(profile):
        if _of_market(dataset):
            yield Place(dataset, None), partial(encoders, profile, staleness, month)
            continue
        facts = Facts(profile, staleness, matures, dataset)
        for sector in SECTORS:
            yield Place(dataset, sector), partial(facts.standing, sector, month)


def _of_market(dataset: str) -> bool:
    return dataset == TRANSFORMER_PRETRAINED.name


class Inputs:
    """Checks of the inputs of trainings.

    Args:
        moment: moment of the tick.
        staleness: staleness of its profile.

    """

    def __init__(self, moment: Moment, staleness: Staleness) -> None:
        self._profile, self._staleness, self._recorder = moment.profile, staleness, _recorder(moment)
        self._moment, self._planners = moment, dict[str, Planner]()

    def obstacle(self, standing: Standing) -> str | None:
        """A missing, early or stale input of a training, and the command that fixes it.

        The market's encoders are not checked: `decide` requests them first.
        """
        profile, first, last, sector = self._profile, standing.first, standing.last, standing.place.sector
        if sector is None:
            return self._behind(standing)
        plan = self._planner(standing.place.dataset).plan([standing.place.dataset], [sector], first, last)
        for name, keys in plan.stored.items():
            dataset = profile.datasets[name]
            if not keys or _of_market(name):
                continue
            if absent := profile.store.missing(dataset, keys):
                return self._with_command(standing, f"{name} of {_months(absent)} is missing")
            matures = _matures(self._recorder, name)
            early, stale = list[str](), dict[str, list[str]]()
            for partition_key in sorted(keys):
                # As the run reads it: for maturing data, the state at the close of its last month is enough.
                needed = min(profile.known_through(parse_key(partition_key)[1], matures), profile.known_through(last))
                recorded = profile.store.recorded(dataset, partition_key)
                if not recorded.same_columns:
                    stale.setdefault("written with other columns", []).append(partition_key)
                elif recorded.known_through is not None and recorded.known_through < needed:
                    early.append(partition_key)
                elif why := self._staleness.own(name, partition_key):
                    stale.setdefault(why, []).append(partition_key)
            if early:
                return self._with_command(standing, f"{name} of {_months(early)} was written before all was known")
            for why, old in stale.items():
                return self._with_command(standing, f"{name} of {_months(old)} is stale ({why})", " --refresh")
        return None

    def _planner(self, dataset: str) -> Planner:
        """Planner for the trainings of a dataset only, with their inputs as stored."""
        if dataset not in self._planners:
            others = [name for name in self._moment.planner.order if name != dataset]
            self._planners[dataset] = Planner(self._moment.defs, self._profile, stored_only=others)
        return self._planners[dataset]

    def _behind(self, standing: Standing) -> str | None:
        """An input of the market's training, of a sector whose last month is not complete yet.

        Sectors that are no longer updated do not count: those without the month before the newest closed one of any
        sector, which may be months after the training's.
        """
        store, last = self._profile.store, standing.last
        for name in self._planner(standing.place.dataset).reads(standing.place.dataset):
            dataset = self._profile.datasets[name]
            stored = store.existing(dataset)
            newest = max(
                (month for month in (parse_key(each)[1] for each in stored) if month <= standing.month), default=last
            )
            before = shift_month(max(newest, last), -1)
            for sector in SECTORS:
                if key(sector, before) not in stored:
                    continue
                own = key(sector, last)
                known = store.known_through(dataset, own) if own in stored else None
                if own not in stored or (known is not None and known < self._profile.known_through(last)):
                    return f"waits for {name} of {sector}, {last}, which is not up to the close of the month"
        return None

    def _with_command(self, standing: Standing, what: str, more: str = "") -> str:
        span = f"--from {standing.first} --to {standing.last}"
        where = f" -s {standing.place.sector}" if standing.place.sector else ""
        command = f"quant run -p {self._profile.settings.profile}{where} {span}"
        return f"{what}; {command} --select {standing.place.dataset}{more}"


def _recorder(moment: Moment) -> PartitionRecorder:
    recorder: PartitionRecorder = (moment.defs.resources or {})["parquet"].recorder
    return recorder


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
