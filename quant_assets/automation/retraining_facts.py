"""What speaks for training a sector's checkpoints or the market's encoders now, by what is stored; changes nothing.

All of it is judged as of the close of the newest closed month, whenever a tick looks: what was known then decides, so
that a daemon that was down finds the same reasons later, and none of a month's own forecasts follows from a choice that
its later sessions made.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import numpy as np
import polars as pl

from quant_assets.grains import MONTH
from quant_assets.learning.checkpoints import FORECASTING, is_training_month
from quant_assets.learning.drift import drifted
from quant_assets.learning.model_files import verified
from quant_assets.learning.realised import realised_ics
from quant_assets.market.calendar import last_session_to, session_number
from quant_assets.partitions import key, month_end, month_of, month_range, month_start, parse_key, shift_month
from quant_assets.planning.staleness import Staleness
from quant_assets.profile import Profile
from quant_assets.schemas import CHECKPOINTS, TRANSFORMER_PRETRAINED, Dataset

#: Reasons for which a month is trained though it is no training month: they are ordered.
ORDERED = ("labels", "drift", "rank_ic")

#: What names a checkpoint in predictions.
_VERSION = ["model", "horizon", "model_version"]


class Place(NamedTuple):
    """What a run trains: a dataset that trainings fill, of a sector; None of the whole market's."""

    dataset: str
    sector: str | None

    @property
    def said(self) -> str:
        """The sector, or the market."""
        return self.sector or "market"


@dataclass(frozen=True)
class Standing:
    """What there is of the trainings of a place, and what speaks for a run.

    Attributes:
        place: what is trained.
        month: the newest closed one.
        newest: month of the newest training, with a model or too little history; None where there is none. An update is
            no training: it neither postpones one nor is judged by itself.
        content: hash of its rows.
        first: first month to materialise; the last is `month`, or `last`.
        last: last month to materialise.
        reasons: in words, by name: `age` (a training month has closed), `month` (another one has, and its partition
            must be there), `labels`, `drift`, `rank_ic` (`ORDERED`), `changed` (code or settings).
        urgent: whether the newest checkpoint is too old for the month after the next one.
        untold: reasons that cannot be judged, and why.

    """

    place: Place
    month: str
    newest: str | None
    content: str | None
    first: str = ""
    last: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)
    urgent: bool = False
    untold: tuple[str, ...] = ()

    @property
    def order(self) -> str | None:
        """The month that is trained whatever the cadence."""
        return self.month if set(ORDERED) & set(self.reasons) and self.last == self.month else None

    @property
    def trigger(self) -> str:
        """Name of this state of things: of what there is and for which reasons, never of a figure that drifts."""
        state = [*self.place, self.month, self.newest, self.content, self.first, self.last, sorted(self.reasons)]
        told = json.dumps([*state, self.reasons.get("changed")])
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @property
    def keys(self) -> list[str]:
        """Partitions to materialise."""
        return [key(self.place.sector, month) for month in month_range(self.first, self.last)] if self.reasons else []


def newest_closed(profile: Profile) -> str | None:
    """The newest month of a profile whose last session has closed; None where none has."""
    month = month_of(profile.last_session())
    if profile.last_session() < last_session_to(month_end(month)):
        month = shift_month(month, -1)
    month = min(month, profile.months.end or month)
    return month if month >= profile.months.start else None


class Facts:
    """Looks at the storage of a profile, at the trainings that fill one dataset by sector.

    Args:
        profile: of the moment.
        staleness: tells what code or settings would make otherwise.
        matures: months by which labels look ahead.
        dataset: of checkpoints.

    """

    def __init__(self, profile: Profile, staleness: Staleness, matures: int, dataset: str = CHECKPOINTS.name) -> None:
        self._profile, self._staleness, self._matures = profile, staleness, matures
        self._checkpoints = profile.datasets[dataset]

    def standing(self, sector: str, month: str) -> Standing | None:
        """What speaks for a run of a sector; None of a sector that has no partition of checkpoints at all.

        Args:
            sector: slug.
            month: the newest closed one.

        Raises:
            DatasetError: a file cannot be read; names it.

        """
        profile, training, name = self._profile, self._profile.settings.training, self._checkpoints.name
        oldest = shift_month(month, 1 - training.max_checkpoint_age_months)
        months = month_range(max(oldest, profile.months.start), month)
        gone = set(profile.store.missing(self._checkpoints, [key(sector, each) for each in months]))
        if len(gone) == len(months):
            return None
        lacking = [
            each
            for each in months
            if key(sector, each) in gone or not _finished(profile, self._checkpoints, key(sector, each))
        ]
        keys = [key(sector, each) for each in months if each not in lacking]
        rows = profile.store.read(self._checkpoints, keys).collect()
        trainings = rows.filter(pl.col("status") != "updated")
        newest = None if trainings.is_empty() else month_of(trainings["as_of"].max())  # type: ignore[arg-type]
        stretch, content, changed = _first_stretch(lacking), None, None
        if newest is not None:
            content = profile.store.recorded(self._checkpoints, key(sector, newest)).content
            changed = self._staleness.own(name, key(sector, newest))
        found, untold = self._closed(sector, stretch, newest) if stretch else {}, list[str]()
        first, last = (stretch[0], stretch[-1]) if stretch else (month, month)
        if newest is not None and last == month:  # else the older stretch comes first, and the rest at a later tick
            if newest < month:
                own = rows.filter(MONTH.label("as_of") >= newest, pl.col("status").is_in(FORECASTING))
                beside, untold = self._beside_the_cadence(sector, month, newest, content, own)
                found |= beside
            if changed:
                found["changed"], first = f"{changed}, since the training of {newest}", min(first, newest)
        age = training.max_checkpoint_age_months
        urgent = newest is not None and shift_month(newest, age) <= shift_month(month, 1)
        return Standing(Place(name, sector), month, newest, content, first, last, found, urgent, tuple(untold))

    def _closed(self, sector: str, stretch: Sequence[str], newest: str | None) -> dict[str, str]:
        """Why a stretch of closed months is due."""
        cadence, beside = self._profile.settings.training.cadence_months, self._orders(sector)
        due = [each for each in stretch if is_training_month(month_start(each), cadence) or each in beside]
        if not due:
            return {"month": f"{_span(stretch)} closed without a training; predictions need its partition"}
        since = f", the newest is of {newest}" if newest else ""
        return {"age": f"the training of {', '.join(due)} is due{since} ({cadence=} months)"}

    def _beside_the_cadence(
        self, sector: str, month: str, newest: str, content: str | None, trained: pl.DataFrame
    ) -> tuple[dict[str, str], list[str]]:
        """Reasons to train a month whatever the cadence, and those that cannot be judged.

        `trained` are the rows of the newest training and of its updates, whose forecasts are judged together.
        """
        store, settings = self._profile.store, self._profile.settings
        since = month_range(shift_month(newest, 1), month)
        wanted = {name: [key(sector, each) for each in since] for name in ("predictions", "labels")}
        wanted["feature_drift"] = [key(sector, month)]
        seen = {
            (name, each): store.recorded(self._profile.datasets[name], each)[:3]
            for name, keys in wanted.items()
            for each in sorted(set(keys) - set(store.missing(self._profile.datasets[name], keys)))
        }
        # The figures are reckoned anew only where a file or a setting is another than at the tick before.
        versions = tuple(trained["model_version"])  # of the updates, too
        place, state = (
            (store.url, self._checkpoints.name, sector),
            (month, content, versions, settings.retraining, settings.drift, seen),
        )
        if place not in _JUDGED or _JUDGED[place][0] != state:
            _JUDGED[place] = state, self._judged(sector, since, trained)
        return _JUDGED[place][1]

    def _judged(self, sector: str, since: Sequence[str], trained: pl.DataFrame) -> tuple[dict[str, str], list[str]]:
        """Judge each model of the dataset; those that were made elsewhere are no better for a training."""
        settings, found, untold = self._profile.settings.retraining, dict[str, str](), list[str]()
        learners = self._profile.models.learners
        models = [each for each in self._profile.models.of(self._checkpoints.name) if learners[each].learns]
        trained = trained.filter(pl.col("model").is_in(models))
        if trained.is_empty():
            return found, untold
        if settings.matured_sessions is not None:
            sessions = self._matured(trained, self._profile.known_through(since[-1]))
            if sessions >= settings.matured_sessions:
                found["labels"] = f"{sessions} sessions of labels have matured since (matured_sessions)"
        for name, wanted, judge in (
            ("drift", settings.on_drift, self._drift),
            ("rank_ic", settings.on_low_ic, self._low_ic),
        ):
            if wanted:
                try:
                    said = judge(sector, since, trained)
                except _NotKnownError as error:
                    untold.append(f"{name}: {error}")
                    continue
                if said:
                    named = said.values() if len(models) == 1 else (f"{each}: {why}" for each, why in said.items())
                    found[name] = "; ".join(named)
        return found, untold

    def _orders(self, sector: str) -> Mapping[str, str]:
        return self._profile.orders.months(sector, self._checkpoints.name)

    def _known(self, name: str, sector: str, months: Sequence[str], as_of: date, matures: int = 0) -> pl.DataFrame:
        """Rows of months, as far as they were known at a session."""
        store, dataset = self._profile.store, self._profile.datasets[name]
        for month in months:
            place = key(sector, month)
            if store.missing(dataset, [place]):
                raise _NotKnownError(f"{name} of {month} is not stored")
            recorded = store.recorded(dataset, place)
            needed = min(self._profile.known_through(month, matures), as_of)
            if not recorded.same_columns:
                raise _NotKnownError(f"{name} of {month} was written with other columns")
            if recorded.known_through is not None and recorded.known_through < needed:
                raise _NotKnownError(f"{name} of {month} was written before {needed} had closed")
        return store.read(dataset, [key(sector, month) for month in months]).drop("sector", "month").collect()

    def _drift(self, sector: str, since: Sequence[str], trained: pl.DataFrame) -> dict[str, str]:
        """How what a model reads, or its forecasts, have left its training rows in the newest month, by model."""
        as_of, settings = self._profile.known_through(since[-1]), self._profile.settings.drift
        of = trained.select("model", checkpoint="as_of")
        stability = self._known("feature_drift", sector, since[-1:], as_of).join(of, on=list(of.columns), how="semi")
        predictions = self._known("predictions", sector, since[-1:], as_of).join(trained, on=_VERSION, how="semi")
        said = dict[str, str]()
        for row in drifted(stability, predictions, settings).filter("drifted").iter_rows(named=True):
            apart = "unknown" if row["out_of_range"] is None else f"{row['out_of_range']:.0%}"
            said[row["model"]] = (
                f"in {since[-1]} {row['drifted_share']:.0%} of the features have a PSI above {settings.max_psi:g} and "
                f"above the usual (limit {settings.max_drifted_share:.0%}), rows out of range: {apart} "
                f"(limit {settings.max_out_of_range:.0%})"
            )
        return said

    def _matured(self, trained: pl.DataFrame, as_of: date) -> int:
        """Sessions by which labels are known for longer than at the training, embargo included."""
        known: date = trained.filter(pl.col("status") == "trained")["last_known_at"].max()  # type: ignore[assignment]
        first, last = session_number(np.array([known, as_of], dtype="datetime64[D]")).tolist()
        return int(last - first - self._profile.settings.training.embargo_sessions)

    def _low_ic(self, sector: str, since: Sequence[str], trained: pl.DataFrame) -> dict[str, str]:
        """The rank IC of the newest checkpoint, where it is low, by model; they share the chance of a false alarm."""
        store, settings = self._profile.store, self._profile.settings.retraining
        as_of = self._profile.known_through(since[-1])
        predictions = self._known("predictions", sector, since, as_of).join(trained, on=_VERSION, how="semi")
        labels = self._known("labels", sector, since, as_of, self._matures)
        expected = dict[str, dict[int, tuple[float, float]]]()
        for row in trained.filter(pl.col("status") == "trained").iter_rows(named=True):
            content = verified("manifest", store.read_artifact(row["manifest_file"]), row["manifest_sha256"])
            metrics = json.loads(content)["metrics"]
            if metrics["rank_ic"] is not None and metrics["rank_ic_standard_error"] is not None:
                of_model = expected.setdefault(row["model"], {})
                of_model[row["horizon"]] = metrics["rank_ic"], metrics["rank_ic_standard_error"]
        confidence = 1 - (1 - settings.ic_confidence) / max(1, len(expected))
        said = dict[str, str]()
        for model, horizons in expected.items():
            own = predictions.filter(pl.col("model") == model)
            judged = realised_ics(own, labels, horizons, as_of, confidence, settings.ic_min_sessions)
            if low := "; ".join(each.said for each in judged if each.low):
                said[model] = low
        return said


def encoders(profile: Profile, staleness: Staleness, month: str) -> Standing | None:
    """What speaks for pre-training the market's encoders; None where no partition of them is stored, or none is made.

    They are due in the months of their own cadences alone, and no earlier than the first that is stored: before that
    nobody asked for any.

    Args:
        profile: of the moment.
        staleness: as of `Facts`.
        month: the newest closed one.

    Raises:
        DatasetError: a file cannot be read; names it.

    """
    place, cadences = Place(TRANSFORMER_PRETRAINED.name, None), profile.models.pretraining_cadences
    dataset = profile.datasets.get(place.dataset)
    stored = sorted(profile.store.existing(dataset)) if dataset and cadences else []
    if dataset is None or not stored:
        return None
    first = max(stored[0], shift_month(month, 1 - max(cadences)), profile.months.start)
    due = [
        each
        for each in (month_range(first, month) if first <= month else [])
        if any(is_training_month(month_start(each), cadence) for cadence in cadences)
    ]
    lacking = [each for each in due if each not in stored or not _finished(profile, dataset, each)]
    if lacking:
        why = f"the pre-training of {', '.join(lacking)} is due (cadence_months={min(cadences)})"
        last = _first_stretch(lacking)[-1]
        return Standing(place, month, None, None, lacking[0], last, {"age": why})
    newest = due[-1] if due else None
    changed = newest and staleness.own(place.dataset, newest)
    reasons = {"changed": f"{changed}, since the pre-training of {newest}"} if changed else {}
    content = profile.store.recorded(dataset, newest).content if newest else None
    return Standing(place, month, newest, content, newest or month, newest or month, reasons)


def _finished(profile: Profile, dataset: Dataset, partition_key: str) -> bool:
    recorded = profile.store.recorded(dataset, partition_key)
    known, month = recorded.known_through, parse_key(partition_key)[1]
    return recorded.same_columns and (known is None or known >= profile.known_through(month))


class _NotKnownError(Exception):
    """What a reason is judged by is not there."""


def _first_stretch(months: Sequence[str]) -> list[str]:
    """The first months without one missing between them."""
    found = list(months[:1])
    for month in months[1:]:
        if month != shift_month(found[-1], 1):
            break
        found.append(month)
    return found


def _span(months: Sequence[str]) -> str:
    return months[0] if len(months) == 1 else f"{months[0]} to {months[-1]}"


#: What was judged last of each storage, dataset and sector, with the state of the files that it was judged by.
_JUDGED: dict[tuple[str, str, str], tuple[object, tuple[dict[str, str], list[str]]]] = {}
