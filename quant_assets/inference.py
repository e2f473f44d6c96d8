"""Picks of one session from what is stored: candidates, features, bars and the newest usable model before it."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from quant_assets.catalogue import kind_of
from quant_assets.errors import HistoryError, ModelFileError, SettingsError
from quant_assets.learning.bars import Bars, first_session_back
from quant_assets.learning.checkpoints import is_training_month, usable_checkpoints
from quant_assets.learning.forecast import LoadedModel, load_models
from quant_assets.learning.inference import (
    COMPOSITE,
    COVERAGE,
    WINDOW,
    Picks,
    Side,
    picks,
    too_few_bars,
)
from quant_assets.learning.models.base import FittedModel
from quant_assets.learning.registry import KEPT_MODELS, Loaded
from quant_assets.learning.rows import Rows
from quant_assets.market.calendar import last_session_to, sessions
from quant_assets.model_versions import ModelVersions
from quant_assets.partitions import key, month_of, month_range, month_start, parse_key, shift_month
from quant_assets.profile import Profile
from quant_assets.runtime.counters import COUNTERS
from quant_assets.schemas import Dataset
from quant_assets.settings.domain import ENSEMBLE
from quant_assets.settings.loading import load_settings
from quant_assets.settings.sectors import SECTORS

_LOG = logging.getLogger(__name__)


class RegisteredModel(NamedTuple):
    """A registered version: it forecasts, and states nothing of its errors."""

    name: str
    fitted: FittedModel
    version: str


Usable = LoadedModel | RegisteredModel

#: Checkpoints of this process, by their hashes.
_LOADED: Loaded[dict[int, LoadedModel]] = Loaded(KEPT_MODELS)


@dataclass(frozen=True)
class Asked:
    """What picks are asked for.

    Attributes:
        tickers: names that may be picked.
        as_of: session of the prediction.
        model: its name in the settings, `ensemble`, `name@version` of the registry, or one that was loaded before;
            each sector's champion as of the session where None, else that of the weights.
        top_n: names that are picked at most.
        sectors: whose members the names are; every stored one where None.
        composite: score of each name where no model is usable; that of the stored candidates where None.
        side: `long` picks the highest scores, `short` the lowest.
        horizon: sessions ahead; that of the weights where None.
        sequence_length: sessions of the window in which a name must have bars.
        coverage: share of them that is enough.

    """

    tickers: Sequence[str]
    as_of: date
    model: str | LoadedModel | None = None
    top_n: int = 10
    sectors: Sequence[str] | None = None
    composite: Mapping[str, float] | None = None
    side: Side = "long"
    horizon: int | None = None
    sequence_length: int = WINDOW
    coverage: float = COVERAGE


def inference_pipeline(
    tickers: Sequence[str] | Mapping[str, Any],
    prediction_date: date | str | None = None,
    model: str | LoadedModel | None = None,
    sequence_length: int | None = None,
    top_n: int = 10,
    *,
    profile: Profile | str | None = None,
    sector: str | None = None,
) -> dict[str, Any]:
    """Score names at the close of a session and pick the best; nothing later than that session is read.

    Args:
        tickers: names, or a dictionary with `tickers` and maybe `prediction_date`, `sequence_length` and `metadata`
            {`selection_scores` and `candidate_types` by ticker}. Where all types are `short` the lowest scores are
            picked, else the highest.
        prediction_date: a day [default: that of the dictionary]; one without a session counts as the session before.
        model: its name in the settings, `ensemble`, `name@version` of the registry, or one that was loaded before
            [default: the sector's champion as of the session, else that of the weights].
        sequence_length: sessions up to the prediction date [default: that of the dictionary, else 32]; a name with bars
            in less than 90 % of them is excluded.
        top_n: names that are picked at most.
        profile: whose storage is read, or its name [default: QUANT_PROFILE, else demo].
        sector: of the names [default: each name's own].

    Returns:
        `selected_stocks` (best first), `predicted_scores` (forward return by ticker), `portfolio_weights` (in
        proportion to the positive scores, sum 1; none where no score is positive), `source` (`model`, or
        `algorithmic_only` where the composite score stands in for a model), `metadata` (`total_candidates`,
        `valid_stocks`, `excluded_stocks` with `exclusion_reasons`, `horizon`, `model`, `model_version`, `notes`, more).

    Raises:
        HistoryError: fewer than five names are valid.
        MissingPartitionError: a month that is needed is not stored.
        SettingsError: there is no date, or it has no session yet, or there is no such model.

    """
    given: Mapping[str, Any] = tickers if isinstance(tickers, Mapping) else {"tickers": tickers}
    beside, names = given.get("metadata", {}), list(dict.fromkeys(given["tickers"]))
    said = prediction_date if prediction_date is not None else given.get("prediction_date")
    if said is None:
        raise SettingsError("there is no prediction_date; give one, or one in the dictionary of the tickers")
    day = date.fromisoformat(said) if isinstance(said, str) else said
    length = sequence_length if sequence_length is not None else given.get("sequence_length", WINDOW)
    types = beside.get("candidate_types", {})
    opened = profile if isinstance(profile, Profile) else Profile(load_settings(profile))
    asked = Asked(
        names,
        last_session_to(day),
        model,
        top_n,
        None if sector is None else [sector],
        beside.get("selection_scores"),
        side="short" if names and all(types.get(name) == "short" for name in names) else "long",
        sequence_length=length,
    )
    return pick(opened, asked).document(horizon=opened.settings.weights.horizon)


def pick(profile: Profile, asked: Asked, step: Callable[[str], None] = lambda _: None) -> Picks:
    """The picks that are asked for; `step` is told what is done next.

    Raises:
        HistoryError: as of `inference_pipeline`, and so are the others.

    """
    if asked.sequence_length < 1 or asked.top_n < 1:
        raise SettingsError(f"{asked.sequence_length=} and {asked.top_n=} must be at least 1")
    month = month_of(asked.as_of)
    profile.check_months(month, month)
    if asked.as_of > profile.last_session():
        raise SettingsError(f"{asked.as_of} has not closed; the last closed session is {profile.last_session()}")
    settings = profile.settings
    horizon = asked.horizon or settings.weights.horizon
    wanted = list(asked.sectors) if asked.sectors is not None else _stored_sectors(profile, "features", month)
    step("features")
    keys = [key(sector, month) for sector in wanted]
    features = _read(profile, "features", keys, asked.tickers).filter(pl.col("date") == asked.as_of).collect()
    sectors = features["sector"].unique(maintain_order=True).to_list() or wanted
    step("windows of bars")
    days = sessions(month_start(settings.partitions.start), asked.as_of)[-asked.sequence_length :]
    if len(days) < asked.sequence_length:
        raise HistoryError(
            f"{asked.as_of}: the profile begins {len(days)} sessions before, {asked.sequence_length} are needed; "
            "choose a later month or set partitions.start earlier"
        )
    months = month_range(month_of(days[0].item()), month)
    bars = _read(profile, "prices", [key(each, m) for each in sectors for m in months], asked.tickers)
    bars = bars.filter(pl.col("panel_from") <= asked.as_of).select("ticker", "date", "close")
    excluded = too_few_bars(bars.collect(), asked.tickers, days, asked.coverage)
    here = set(features["ticker"])
    excluded |= {
        name: f"no features on {asked.as_of}: no member of {', '.join(wanted)} then"
        for name in asked.tickers
        if name not in here and name not in excluded
    }
    valid = features.filter(~pl.col("ticker").is_in(list(excluded)))
    step("model and forecasts")
    scores, name, version, notes = _scores(profile, asked, valid, horizon)
    return picks(scores, excluded, asked.as_of, asked.top_n, asked.side, name, version, notes)


class _Scored(NamedTuple):
    """Scores of a sector's names; none where no model is usable, and what is to be said of it."""

    scores: dict[str, float] | None
    name: str
    version: str
    notes: list[str]


def _scores(
    profile: Profile, asked: Asked, rows: pl.DataFrame, horizon: int
) -> tuple[dict[str, float], str | None, str, list[str]]:
    """Score of each name, who scored, its version and what is to be said of it."""
    by_sector = rows.partition_by("sector", as_dict=True, maintain_order=True)
    found = [_of_sector(profile, asked, str(sector), own, horizon) for (sector,), own in by_sector.items()]
    notes, scores = [note for each in found for note in each.notes], dict[str, float]()
    for each in found:
        if each.scores is None:
            # Forecasts and composite scores have different units: names of several sectors get the one or the other.
            return _composite(profile, asked, rows["ticker"].to_list()), None, COMPOSITE, notes
        scores |= each.scores
    names, versions = dict.fromkeys(each.name for each in found), dict.fromkeys(each.version for each in found)
    return scores, ", ".join(names), ", ".join(versions), notes


def _of_sector(profile: Profile, asked: Asked, sector: str, rows: pl.DataFrame, horizon: int) -> _Scored:
    """Scores of a sector's names by the model that is asked for, else by the sector's champion as of the session."""
    chosen = asked.model or ModelVersions(profile.store).champion_on(sector, asked.as_of)
    chosen = chosen or str(profile.settings.weights.model)
    models: Mapping[int, Usable]
    if isinstance(chosen, LoadedModel):
        models, notes, name = dict.fromkeys(chosen.fitted.horizons, chosen), list[str](), chosen.name
    elif chosen == ENSEMBLE:
        return _of_ensemble(profile, asked, sector, rows["ticker"].to_list(), horizon)
    else:
        name = chosen
        find = _registered if "@" in name else usable_models
        models, notes = find(profile, sector, name, asked.as_of, horizon)
    if horizon not in models:
        if models:
            notes = [*notes, f"{sector}: model {name} forecasts {_sessions(models)}, {horizon} are asked for"]
        return _Scored(None, name, COMPOSITE, notes)
    model = models[horizon]
    bars = _bars(profile, sector, rows, asked.as_of, model.fitted.bar_sessions)
    given = Rows.of(rows, model.fitted.features, bars=bars)
    usable = model.fitted.usable(given)
    with COUNTERS.call(model.name, len(rows)):
        mean = model.fitted.predict(given.where(usable)).mean
    scores = np.full(len(rows), np.nan)  # of a name whose bars do not fill the model's window there is none
    scores[usable] = mean[:, model.fitted.horizons.index(horizon)]
    return _Scored(dict(zip(rows["ticker"], scores.tolist(), strict=True)), name, model.version, notes)


def _bars(profile: Profile, sector: str, rows: pl.DataFrame, as_of: date, back: int) -> Bars | None:
    """The bars of a sector's names as far back as a model reads them; None where it reads none."""
    if not back:
        return None
    first = first_session_back(as_of, back)
    months = month_range(max(month_of(first), profile.settings.partitions.start), month_of(as_of))
    prices = _read(profile, "prices", [key(sector, month) for month in months], rows["ticker"].to_list())
    return Bars.between(prices.filter(pl.col("date") >= first).collect(), as_of, as_of, back)


def _sessions(models: Mapping[int, Usable]) -> str:
    return f"{', '.join(str(each) for each in sorted(models))} sessions ahead"


def _of_ensemble(profile: Profile, asked: Asked, sector: str, tickers: Sequence[str], horizon: int) -> _Scored:
    """Scores of the ensemble as the dataset has them: its weights follow from all models' trainings."""
    of_day = (pl.col("date") == asked.as_of) & (pl.col("horizon") == horizon) & (pl.col("model") == ENSEMBLE)
    stored = _read(profile, "predictions", [key(sector, month_of(asked.as_of))], tickers).filter(of_day).collect()
    if stored.is_empty():
        note = f"{sector}: there is no forecast of the {ENSEMBLE} on {asked.as_of}: it needs two models of an earlier"
        return _Scored(None, ENSEMBLE, COMPOSITE, [f"{note} month"])
    found = dict.fromkeys(tickers, float("nan")) | dict(stored.select("ticker", "prediction").iter_rows())
    return _Scored(found, ENSEMBLE, ", ".join(stored["model_version"].unique(maintain_order=True)), [])


def _registered(
    profile: Profile, sector: str, said: str, as_of: date, horizon: int
) -> tuple[Mapping[int, "RegisteredModel"], list[str]]:
    """A registered version for its horizons, `horizon` or not; where it is not whole, none and a note that says so.

    Raises:
        SettingsError: it is not registered, or was trained on what became known later, or on another sector.

    """
    versions = ModelVersions(profile.store, type_of=kind_of(profile.settings))
    try:
        fitted, version = versions.load(said)
    except ModelFileError as error:
        if profile.settings.registry.fallback == "refuse":
            raise
        _LOG.warning("model %s: %s; the composite score stands in for it", said, error)
        return {}, [f"{sector}: {error}"]
    known = version.manifest.get("last_known_at")
    if known is None:
        raise SettingsError(f"model {said} does not say until when it was trained: register it with --trained-until")
    if known >= as_of.isoformat():
        raise SettingsError(
            f"model {said} was trained on what became known up to {known}; ask for a later day than that"
        )
    if version.manifest.get("sector", sector) != sector:
        raise SettingsError(f"model {said} is of sector {version.manifest['sector']}, not of {sector}")
    model = RegisteredModel(version.name, fitted, version.version)
    return dict.fromkeys(fitted.horizons, model), [f"model {said}: {version.worth}"]


def usable_models(
    profile: Profile, sector: str, name: str, as_of: date, horizon: int
) -> tuple[dict[int, LoadedModel], list[str]]:
    """The newest checkpoint of an earlier month that can be read, and a note for each newer one that cannot.

    With the setting `registry.fallback` `refuse` there is no such note: the first that cannot be read is an error.

    Returns:
        The model of each horizon, none where there is no checkpoint; the notes, which are logged, too.

    Raises:
        ModelFileError: see there.
        MissingPartitionError: a training month after the newest checkpoint is not stored.
        DatasetError: the checkpoint is of another kind or has other features than the settings say.
        SettingsError: there is no such model.

    """
    settings = profile.settings
    if name not in settings.models:
        raise SettingsError(f"model '{name}' is none of models: {', '.join((*settings.models, ENSEMBLE))}")
    month, learner = month_of(as_of), profile.models.learners[name]
    oldest = max(shift_month(month, -settings.training.max_checkpoint_age_months), settings.partitions.start)
    keys = [key(sector, each) for each in month_range(oldest, shift_month(month, -1))] if oldest < month else []
    dataset = profile.datasets[learner.checkpoints]
    absent = set(profile.store.missing(dataset, keys))
    stored = profile.store.read(dataset, [each for each in keys if each not in absent])
    rows = stored.filter(pl.col("model") == name).drop("sector", "month").collect()
    notes: list[str] = []
    for chosen in usable_checkpoints(rows, month_start(month), settings.training):
        if horizon not in chosen["horizon"] or (chosen["last_known_at"].max() or as_of) >= as_of:  # type: ignore[operator]
            continue
        _refuse_gap(profile, dataset, absent, month_of(chosen["as_of"][0]))
        files = name, *chosen["manifest_sha256"], *profile.features.names

        def load(chosen: pl.DataFrame = chosen) -> dict[int, LoadedModel]:
            with TemporaryDirectory() as folder:
                given = learner, profile.features.names, profile.store.read_artifact, Path(folder)
                return load_models(chosen.iter_rows(named=True), *given)

        try:
            return _LOADED.get(files, load), notes
        except ModelFileError as error:
            if settings.registry.fallback == "refuse":
                raise
            notes.append(f"{sector}: checkpoint of {chosen['as_of'][0]} is not usable: {error}")
            _LOG.warning("model %s, %s", name, notes[-1])
    if not notes:
        _refuse_gap(profile, dataset, absent)
        notes.append(f"{sector}: model {name} has no checkpoint of {oldest} to the month before {month}")
    _LOG.warning("model %s, %s: the composite score stands in for it", name, sector)
    return {}, notes


def _refuse_gap(profile: Profile, dataset: Dataset, absent: Collection[str], after: str = "") -> None:
    """Refuse that an older model, or none, stands in for one of a training month that was never run."""
    cadence = profile.settings.training.cadence_months
    due = [each for each in absent if (month := parse_key(each)[1]) > after and _trains(month, cadence)]
    profile.store.read(dataset, due)


def _trains(month: str, cadence: int) -> bool:
    return is_training_month(month_start(month), cadence)


def _composite(profile: Profile, asked: Asked, tickers: Collection[str]) -> dict[str, float]:
    """Composite score of the names, from the candidates of their month unless they were given."""
    scores = asked.composite
    if scores is None:
        month = month_of(asked.as_of)
        keys = [key(each, month) for each in _stored_sectors(profile, "candidates", month)]
        rows = _read(profile, "candidates", keys, tickers).filter(pl.col("as_of") <= asked.as_of)
        scores = dict(rows.select("ticker", "composite_score").collect().iter_rows())
    return {name: float("nan") if scores.get(name) is None else float(scores[name]) for name in tickers}


def _stored_sectors(profile: Profile, name: str, month: str) -> list[str]:
    existing = profile.store.existing(profile.datasets[name])
    found = {parse_key(each)[0] for each in existing if parse_key(each)[1] == month}
    return [sector for sector in SECTORS if sector in found]


def _read(profile: Profile, name: str, keys: Sequence[str], tickers: Collection[str]) -> pl.LazyFrame:
    frame = profile.store.read(profile.datasets[name], keys)
    return frame.filter(pl.col("ticker").is_in(list(tickers)))
