"""Reasons for training a sector's checkpoints or the market's encoders now, from the storage; changes nothing.

All reasons are as of the close of the newest closed month, whatever the time of the tick: a daemon that was down finds
the same reasons later, and the forecasts of a month do not depend on choices made in its later sessions.
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

#: Reasons for an ordered training, in a month that is not a training month.
ORDERED = ("labels", "drift", "rank_ic")

#: Columns that identify a checkpoint in predictions.
_VERSION = ["model", "horizon", "model_version"]


class Place(NamedTuple):
    """The target of a run: a dataset of checkpoints and a sector; None for the whole market."""

    dataset: str
    sector: str | None

    @property
    def said(self) -> str:
        """The sector, or the market."""
        return self.sector or "market"


@dataclass(frozen=True)
class Standing:
    """State of the trainings of a place, and the reasons for a run.

    Attributes:
        place: target of the training.
        month: the newest closed month.
        newest: month of the newest training, with a model or too little history; None without one. An update is not a
            training: it neither postpones one nor is judged separately.
        content: hash of its rows.
        first: first month to materialise; the last is `month`, or `last`.
        last: last month to materialise.
        reasons: in words, by name: `age` (a training month has closed), `month` (another month has closed and needs
            a partition), `labels`, `drift`, `rank_ic` (`ORDERED`), `changed` (code or settings).
        urgent: whether the newest checkpoint is too old for the month after the next one.
        untold: reasons that cannot be judged, with the cause.

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
        """The month to train regardless of the cadence."""
        return self.month if set(ORDERED) & set(self.reasons) and self.last == self.month else None

    @property
    def trigger(self) -> str:
        """Identifier of this state: of the stored training and the names of the reasons, without changing figures."""
        state = [*self.place, self.month, self.newest, self.content, self.first, self.last, sorted(self.reasons)]
        content = json.dumps([*state, self.reasons.get("changed")])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def keys(self) -> list[str]:
        """Partitions to materialise."""
        return [key(self.place.sector, month) for month in month_range(self.first, self.last)] if self.reasons else []


def newest_closed(profile: Profile) -> str | None:
    """The newest month of a profile whose last session has closed; None without one."""
    month = month_of(profile.last_session())
    if profile.last_session() < last_session_to(month_end(month)):
        month = shift_month(month, -1)
    month = min(month, profile.months.end or month)
    return month if month >= profile.months.start else None


class Facts:
    """States of the trainings of one checkpoint dataset by sector.

    Args:
        profile: profile of the moment.
        staleness: finds partitions that changed code or settings would change.
        matures: months by which labels look ahead.
        dataset: checkpoint dataset.

    """

    def __init__(self, profile: Profile, staleness: Staleness, matures: int, dataset: str = CHECKPOINTS.name) -> None:
        self._profile, self._staleness, self._matures = profile, staleness, matures
        self._checkpoints = profile.datasets[dataset]

    def standing(self, sector: str, month: str) -> Standing | None:
        """State of a sector; None for a sector without any partition of checkpoints.

        Args:
            sector: slug.
            month: the newest closed month.

        Raises:
            DatasetError: a file cannot be read; names it.

        """
        profile, training, name = self._profile, self._profile.settings.training, self._checkpoints.name
        oldest = shift_month(month, 1 - training.max_checkpoint_age_months)
        months = month_range(max(oldest, profile.months.start), month)
        gone = set(profile.store.missing(self._checkpoints, [key(sector, label) for label in months]))
        if len(gone) == len(months):
            return None
        lacking = [
            label
            for label in months
            if key(sector, label) in gone or not _finished(profile, self._checkpoints, key(sector, label))
        ]
        keys = [key(sector, label) for label in months if label not in lacking]
        rows = profile.store.read(self._checkpoints, keys).collect()
        trainings = rows.filter(pl.col("status") != "updated")
        newest = None if trainings.is_empty() else month_of(trainings["as_of"].max())  # type: ignore[arg-type]
        stretch, content, changed = _first_stretch(lacking), None, None
        if newest is not None:
            content = profile.store.recorded(self._checkpoints, key(sector, newest)).content
            changed = self._staleness.own(name, key(sector, newest))
        reasons, untold = self._closed(sector, stretch, newest) if stretch else {}, list[str]()
        first, last = (stretch[0], stretch[-1]) if stretch else (month, month)
        if newest is not None and last == month:  # else the older months come first
            if newest < month:
                own = rows.filter(MONTH.label("as_of") >= newest, pl.col("status").is_in(FORECASTING))
                ordered, untold = self._beside_the_cadence(sector, month, newest, content, own)
                reasons |= ordered
            if changed:
                reasons["changed"], first = f"{changed}, since the training of {newest}", min(first, newest)
        age = training.max_checkpoint_age_months
        urgent = newest is not None and shift_month(newest, age) <= shift_month(month, 1)
        return Standing(Place(name, sector), month, newest, content, first, last, reasons, urgent, tuple(untold))

    def _closed(self, sector: str, stretch: Sequence[str], newest: str | None) -> dict[str, str]:
        """Why consecutive closed months are due."""
        cadence, ordered = self._profile.settings.training.cadence_months, self._orders(sector)
        due = [month for month in stretch if is_training_month(month_start(month), cadence) or month in ordered]
        if not due:
            return {"month": f"{_span(stretch)} closed without a training; predictions need its partition"}
        since = f", the newest is of {newest}" if newest else ""
        return {"age": f"the training of {', '.join(due)} is due{since} ({cadence=} months)"}

    def _beside_the_cadence(
        self, sector: str, month: str, newest: str, content: str | None, trained: pl.DataFrame
    ) -> tuple[dict[str, str], list[str]]:
        """Reasons to train a month regardless of the cadence, and those that cannot be judged.

        `trained` has the rows of the newest training and of its updates, whose forecasts are judged together.
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
        # Recomputed only if a file or a setting has changed since the last tick.
        versions = tuple(trained["model_version"])  # updates included
        place, state = (
            (store.url, self._checkpoints.name, sector),
            (month, content, versions, settings.retraining, settings.drift, seen),
        )
        if place not in _JUDGED or _JUDGED[place][0] != state:
            _JUDGED[place] = state, self._judged(sector, since, trained)
        return _JUDGED[place][1]

    def _judged(self, sector: str, since: Sequence[str], trained: pl.DataFrame) -> tuple[dict[str, str], list[str]]:
        """Judge each model of the dataset, except models trained elsewhere, which a training cannot change."""
        settings, reasons, untold = self._profile.settings.retraining, dict[str, str](), list[str]()
        learners = self._profile.models.learners
        models = [each for each in self._profile.models.of(self._checkpoints.name) if learners[each].learns]
        trained = trained.filter(pl.col("model").is_in(models))
        if trained.is_empty():
            return reasons, untold
        if settings.matured_sessions is not None:
            sessions = self._matured(trained, self._profile.known_through(since[-1]))
            if sessions >= settings.matured_sessions:
                reasons["labels"] = f"{sessions} sessions of labels have matured since (matured_sessions)"
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
                    reasons[name] = "; ".join(named)
        return reasons, untold

    def _orders(self, sector: str) -> Mapping[str, str]:
        return self._profile.orders.months(sector, self._checkpoints.name)

    def _known(self, name: str, sector: str, months: Sequence[str], as_of: date, matures: int = 0) -> pl.DataFrame:
        """Rows of months that were written with everything known at a session."""
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
        """Drift of inputs or forecasts from the training rows in the newest month, by model."""
        as_of, settings = self._profile.known_through(since[-1]), self._profile.settings.drift
        used = trained.select("model", checkpoint="as_of")
        stability = self._known("feature_drift", sector, since[-1:], as_of).join(
            used, on=list(used.columns), how="semi"
        )
        predictions = self._known("predictions", sector, since[-1:], as_of).join(trained, on=_VERSION, how="semi")
        messages = dict[str, str]()
        for row in drifted(stability, predictions, settings).filter("drifted").iter_rows(named=True):
            out_of_range = "unknown" if row["out_of_range"] is None else f"{row['out_of_range']:.0%}"
            messages[row["model"]] = (
                f"in {since[-1]} {row['drifted_share']:.0%} of the features have a PSI above {settings.max_psi:g} and "
                f"above the usual (limit {settings.max_drifted_share:.0%}), rows out of range: {out_of_range} "
                f"(limit {settings.max_out_of_range:.0%})"
            )
        return messages

    def _matured(self, trained: pl.DataFrame, as_of: date) -> int:
        """Sessions of labels that became known since the training, after the embargo."""
        known: date = trained.filter(pl.col("status") == "trained")["last_known_at"].max()  # type: ignore[assignment]
        first, last = session_number(np.array([known, as_of], dtype="datetime64[D]")).tolist()
        return int(last - first - self._profile.settings.training.embargo_sessions)

    def _low_ic(self, sector: str, since: Sequence[str], trained: pl.DataFrame) -> dict[str, str]:
        """Low rank ICs of the newest checkpoint by model; the confidence is shared among the models."""
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
        messages = dict[str, str]()
        for model, horizons in expected.items():
            own = predictions.filter(pl.col("model") == model)
            judged = realised_ics(own, labels, horizons, as_of, confidence, settings.ic_min_sessions)
            if low := "; ".join(result.said for result in judged if result.low):
                messages[model] = low
        return messages


def encoders(profile: Profile, staleness: Staleness, month: str) -> Standing | None:
    """State of the pre-training of the market's encoders; None without stored partitions or models that use them.

    They are due only in the months of their own cadences, from the first stored one on.

    Args:
        profile: profile of the moment.
        staleness: as in `Facts`.
        month: the newest closed month.

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
        label
        for label in (month_range(first, month) if first <= month else [])
        if any(is_training_month(month_start(label), cadence) for cadence in cadences)
    ]
    lacking = [label for label in due if label not in stored or not _finished(profile, dataset, label)]
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
    """The data to judge a reason are missing."""


def _first_stretch(months: Sequence[str]) -> list[str]:
    """The first consecutive months."""
    stretch = list(months[:1])
    for month in months[1:]:
        if month != shift_month(stretch[-1], 1):
            break
        stretch.append(month)
    return stretch


def _span(months: Sequence[str]) -> str:
    return months[0] if len(months) == 1 else f"{months[0]} to {months[-1]}"


#: The last result by storage, dataset and sector, with the state of its inputs.
_JUDGED: dict[tuple[str, str, str], tuple[object, tuple[dict[str, str], list[str]]]] = {}
