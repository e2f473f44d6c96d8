"""Picks of one session from stored candidates, features and bars, by the newest usable model before it."""

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
from quant_assets.errors import HistoryError, ModelFileError, SettingsError, UsageError
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
    """A registered version: it gives forecasts without error statistics."""

    name: str
    fitted: FittedModel
    version: str


Usable = LoadedModel | RegisteredModel

#: Loaded checkpoints of this process, by hashes.
_LOADED: Loaded[dict[int, LoadedModel]] = Loaded(KEPT_MODELS)


@dataclass(frozen=True)
class Asked:
    """A request for picks.

    Attributes:
        tickers: names that may be picked.
        as_of: session of the prediction.
        model: its name in the settings, `ensemble`, `name@version` of the registry, or a loaded model; None for the
            sector's champion as of the session, else the model of the weights.
        top_n: most names to pick.
        sectors: of the names; None for every stored one.
        composite: scores by name if no model is usable; None for those of the stored candidates.
        side: `long` picks the highest scores, `short` the lowest.
        horizon: sessions ahead; None for that of the weights.
        sequence_length: sessions of the window in which a name must have bars.
        coverage: share of them that suffices.

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
            {`selection_scores` and `candidate_types` by ticker}. If all types are `short`, the lowest scores are
            picked, else the highest.
        prediction_date: a day [default: that of the dictionary]; a day without a session means the session before.
        model: its name in the settings, `ensemble`, `name@version` of the registry, or a loaded model
            [default: the sector's champion as of the session, else that of the weights].
        sequence_length: sessions up to the prediction date [default: that of the dictionary, else 32]; a name with bars
            in less than 90 % of them is excluded.
        top_n: most names to pick.
        profile: of the storage, or its name [default: QUANT_PROFILE, else demo].
        sector: of the names [default: their own].

    Returns:
        `selected_stocks` (best first), `predicted_scores` (forward return by ticker), `portfolio_weights` (in
        proportion to the positive scores, sum 1; none where no score is positive), `source` (`model`, or
        `algorithmic_only` if the selection score replaces the model), `metadata` (`total_candidates`,
        `valid_stocks`, `excluded_stocks` with `exclusion_reasons`, `horizon`, `model`, `model_version`, `notes`, more).

    Raises:
        HistoryError: fewer than five names are valid.
        MissingPartitionError: a required month is not stored.
        SettingsError: the date is missing or has no session yet, or the model does not exist.

    """
    request: Mapping[str, Any] = tickers if isinstance(tickers, Mapping) else {"tickers": tickers}
    metadata, names = request.get("metadata", {}), list(dict.fromkeys(request["tickers"]))
    date_or_text = prediction_date if prediction_date is not None else request.get("prediction_date")
    if date_or_text is None:
        raise SettingsError("there is no prediction_date; give one, or one in the dictionary of the tickers")
    day = date.fromisoformat(date_or_text) if isinstance(date_or_text, str) else date_or_text
    length = sequence_length if sequence_length is not None else request.get("sequence_length", WINDOW)
    types = metadata.get("candidate_types", {})
    opened = profile if isinstance(profile, Profile) else Profile(load_settings(profile))
    asked = Asked(
        names,
        last_session_to(day),
        model,
        top_n,
        None if sector is None else [sector],
        metadata.get("selection_scores"),
        side="short" if names and all(types.get(name) == "short" for name in names) else "long",
        sequence_length=length,
    )
    return pick(opened, asked).document(horizon=opened.settings.weights.horizon)


def pick(profile: Profile, asked: Asked, step: Callable[[str], None] = lambda _: None) -> Picks:
    """Compute the requested picks; `step` is called with the name of the next step.

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
    """Scores of a sector's names, None without a usable model, and notes."""

    scores: dict[str, float] | None
    name: str
    version: str
    notes: list[str]


def _scores(
    profile: Profile, asked: Asked, rows: pl.DataFrame, horizon: int
) -> tuple[dict[str, float], str | None, str, list[str]]:
    """Scores by name, model name, version and notes."""
    by_sector = rows.partition_by("sector", as_dict=True, maintain_order=True)
    found = [_of_sector(profile, asked, str(sector), own, horizon) for (sector,), own in by_sector.items()]
    notes, scores = [note for each in found for note in each.notes], dict[str, float]()
    for each in found:
        if each.scores is None:
            # Forecasts and selection scores have different units, so all names get the same kind.
            return _composite(profile, asked, rows["ticker"].to_list()), None, COMPOSITE, notes
        scores |= each.scores
    names, versions = dict.fromkeys(each.name for each in found), dict.fromkeys(each.version for each in found)
    return scores, ", ".join(names), ", ".join(versions), notes


def _of_sector(profile: Profile, asked: Asked, sector: str, rows: pl.DataFrame, horizon: int) -> _Scored:
    """Scores of a sector's names by the requested model, else by the sector's champion as of the session."""
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
            notes = [*notes, f"{sector}: model {name} forecasts {_sessions(models)}, but {horizon} are requested"]
        return _Scored(None, name, COMPOSITE, notes)
    model = models[horizon]
    bars = _bars(profile, sector, rows, asked.as_of, model.fitted.bar_sessions)
    model_rows = Rows.of(rows, model.fitted.features, bars=bars)
    usable = model.fitted.usable(model_rows)
    with COUNTERS.call(model.name, len(rows)):
        mean = model.fitted.predict(model_rows.where(usable)).mean
    scores = np.full(len(rows), np.nan)  # NaN if a name's bars do not fill the model's window
    scores[usable] = mean[:, model.fitted.horizons.index(horizon)]
    return _Scored(dict(zip(rows["ticker"], scores.tolist(), strict=True)), name, model.version, notes)


def _bars(profile: Profile, sector: str, rows: pl.DataFrame, as_of: date, back: int) -> Bars | None:
    """The bars of a sector's names that a model needs; None if it needs none."""
    if not back:
        return None
    first = first_session_back(as_of, back)
    months = month_range(max(month_of(first), profile.settings.partitions.start), month_of(as_of))
    prices = _read(profile, "prices", [key(sector, month) for month in months], rows["ticker"].to_list())
    return Bars.between(prices.filter(pl.col("date") >= first).collect(), as_of, as_of, back)


def _sessions(models: Mapping[int, Usable]) -> str:
    return f"{', '.join(str(each) for each in sorted(models))} sessions ahead"


def _of_ensemble(profile: Profile, asked: Asked, sector: str, tickers: Sequence[str], horizon: int) -> _Scored:
    """Stored scores of the ensemble, whose weights depend on all models' trainings."""
    of_day = (pl.col("date") == asked.as_of) & (pl.col("horizon") == horizon) & (pl.col("model") == ENSEMBLE)
    stored = _read(profile, "predictions", [key(sector, month_of(asked.as_of))], tickers).filter(of_day).collect()
    if stored.is_empty():
        note = f"{sector}: there is no forecast of the {ENSEMBLE} on {asked.as_of}: it needs two models of an earlier"
        return _Scored(None, ENSEMBLE, COMPOSITE, [f"{note} month"])
    scores = dict.fromkeys(tickers, float("nan")) | dict(stored.select("ticker", "prediction").iter_rows())
    return _Scored(scores, ENSEMBLE, ", ".join(stored["model_version"].unique(maintain_order=True)), [])


def _registered(
    profile: Profile, sector: str, version_name: str, as_of: date, horizon: int
) -> tuple[Mapping[int, "RegisteredModel"], list[str]]:
    """A registered version by its horizons; none and a note if its files are damaged.

    Raises:
        SettingsError: it is not registered, or was trained on later data or on another sector.

    """
    versions = ModelVersions(profile.store, type_of=kind_of(profile.settings))
    try:
        fitted, version = versions.load(version_name)
    except ModelFileError as error:
        if profile.settings.registry.fallback == "refuse":
            raise
        _LOG.warning("model %s: %s; the selection score stands in for it", version_name, error)
        return {}, [f"{sector}: {error}"]
    known = version.manifest.get("last_known_at")
    if known is None:
        raise SettingsError(
            f"model {version_name} does not record its last training day: register it with --trained-until"
        )
    if known >= as_of.isoformat():
        raise SettingsError(f"model {version_name} was trained on what became known up to {known}; choose a later day")
    if version.manifest.get("sector", sector) != sector:
        raise SettingsError(f"model {version_name} is of sector {version.manifest['sector']}, not of {sector}")
    model = RegisteredModel(version.name, fitted, version.version)
    return dict.fromkeys(fitted.horizons, model), [f"model {version_name}: {version.worth}"]


def usable_models(
    profile: Profile, sector: str, name: str, as_of: date, horizon: int
) -> tuple[dict[int, LoadedModel], list[str]]:
    """The newest readable checkpoint of an earlier month, and notes on newer ones that cannot be read.

    With `registry.fallback: refuse` the first checkpoint that cannot be read is an error.

    Returns:
        Models by horizon, empty without a checkpoint; the notes, which are also logged.

    Raises:
        ModelFileError: a checkpoint cannot be read, with `refuse`.
        MissingPartitionError: a training month after the newest checkpoint is not stored.
        DatasetError: the checkpoint has another kind or other features than the settings.
        UsageError: the model does not exist.

    """
    settings = profile.settings
    if name not in settings.models:
        raise UsageError(f"model '{name}' is none of models: {', '.join((*settings.models, ENSEMBLE))}")
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
    _LOG.warning("model %s, %s: the selection score stands in for it", name, sector)
    return {}, notes


def _refuse_gap(profile: Profile, dataset: Dataset, absent: Collection[str], after: str = "") -> None:
    """Raise an error if a training month after the used model (or any, without a model) was never run."""
    cadence = profile.settings.training.cadence_months
    due = [each for each in absent if (month := parse_key(each)[1]) > after and _trains(month, cadence)]
    profile.store.read(dataset, due)


def _trains(month: str, cadence: int) -> bool:
    return is_training_month(month_start(month), cadence)


def _composite(profile: Profile, asked: Asked, tickers: Collection[str]) -> dict[str, float]:
    """Selection scores of the names: the requested ones, else those of the month's candidates."""
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
