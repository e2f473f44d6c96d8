"""The log of trials in the store: the settings of every training and backtest, with their results by month.

Figures over trials are elsewhere.

A trial is named by the SHA-256 of its settings. Running the same settings again replaces the results of a month in the
same trial; a changed setting is another trial. Nothing is ever removed, so earlier trials stay when a run replaces the
partitions of checkpoints or `backtest`:

    artifacts/trials/<sector or "portfolio">/<kind>-<name>/settings.json and <YYYY-MM>.json

Files are replaced atomically, and two processes write the same bytes under the same name, or different names. No file
holds a time stamp.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from quant_assets.backtest.trials import MEASURED, Trial
from quant_assets.catalogue import learner
from quant_assets.errors import DatasetError
from quant_assets.io.store import DatasetStore
from quant_assets.learning.trained import TrainedModel
from quant_assets.partitions import month_of, month_start, shift_month
from quant_assets.settings.domain import ENSEMBLE
from quant_assets.settings.loading import Settings
from quant_assets.settings.paths import chosen, effective
from quant_assets.settings.providers import PROVIDERS
from quant_assets.settings.sectors import SECTORS

#: Scope of the total portfolio's trials; the other scopes are sectors.
PORTFOLIO = "portfolio"

_NAME_LENGTH = 12
_DIGEST_LENGTH = 16
_SETTINGS = "settings"


@dataclass(frozen=True)
class TrialPaths:
    """Dotted names of the settings that define each kind of trial, from provenance.

    Attributes:
        training: of a training.
        strategy: of a sector's backtest, including those of its training.
        portfolio: of the total portfolio's backtest.

    """

    training: tuple[str, ...]
    strategy: tuple[str, ...]
    portfolio: tuple[str, ...]

    def settings_of_training(self, settings: Settings, features: Sequence[str], model: str | None) -> dict[str, Any]:
        """Settings that define a training of a model (None: the first one that weights use), without its data."""
        name = model or settings.followed_models[0]
        of, horizons = learner(name, settings.models[name]), settings.models[name].horizons
        together = horizons or (settings.labels.horizons if of.all_horizons else ())
        return {
            "model": name,
            **({"horizons": list(together)} if together else {}),
            "features": list(features),
            of.kind: of.deciding(),
            **_beside_data(settings, self.training, None),
        }

    def settings_of_strategy(self, settings: Settings, features: Sequence[str], scope: str) -> dict[str, Any]:
        """Settings that define a backtest, without its data: names of its trainings, and settings of the weights.

        The ensemble has a training per model; their weighting is among the settings.
        """
        trainings = [self.settings_of_training(settings, features, each) for each in settings.followed_models]
        names = [trial_name(each) for each in trainings]
        sector = None if scope == PORTFOLIO else scope
        found = _beside_data(settings, self.portfolio if scope == PORTFOLIO else self.strategy, sector)
        found.pop("weights.model", None)  # the trainings' names stand for it
        return {
            "training": names[0] if settings.weights.model != ENSEMBLE else names,
            **{name: value for name, value in found.items() if name not in trainings[0]},
        }


def _beside_data(settings: Settings, paths: Iterable[str], sector: str | None) -> dict[str, Any]:
    """Values of settings that do not concern data sources; features and models are named by their definitions.

    Horizons are left out: they have their own figures, so adding one must not change other trials. So are settings that
    only concern display.
    """
    elsewhere = {"source", "partitions", "features", "models", *PROVIDERS}
    found = chosen(effective(settings), paths, sector)
    return {
        path: value
        for path, value in found.items()
        if path.partition(".")[0] not in elsewhere and path not in ("labels.horizons", "training.shap_rows")
    }


def trial_name(settings: Mapping[str, Any]) -> str:
    """First characters of the SHA-256 of settings."""
    return hashlib.sha256(_json(settings)).hexdigest()[:_NAME_LENGTH]


class TrialLog:
    """The trials of a profile.

    Args:
        store: where they are.
        settings: that a run of this process tries.
        features: the model inputs, each with what changes with its formula (`FeatureLibrary.formulas`).
        paths: of the settings that decide a trial; `graph.build_defs` tells them.

    """

    def __init__(
        self, store: DatasetStore, settings: Settings, features: Sequence[str], paths: TrialPaths | None = None
    ) -> None:
        self._store = store
        self._settings = settings
        self._features = features
        self.paths = paths

    def note_training(self, sector: str, trained: Sequence[TrainedModel]) -> None:
        """Record a model's training with its results by horizon; without enough history it is no trial."""
        horizons = {
            str(item.horizon): {
                "date": [day.isoformat() for day in item.out_of_fold["date"]],
                "best_return": item.out_of_fold["best_return"].to_list(),
                "rank_ic": item.out_of_fold["rank_ic"].to_list(),
            }
            for item in trained
            if item.out_of_fold is not None
        }
        if horizons:
            as_of = trained[0].as_of
            noted = {"as_of": as_of.isoformat(), "horizons": horizons}
            tried = self.settings_of_training(trained[0].model)
            self._write(sector, "training", tried, {month_of(as_of): noted})

    def note_backtest(self, scope: str, frame: pl.DataFrame, as_ofs: Iterable[date]) -> None:
        """Record the daily net returns of a backtest by month; `as_ofs` are the months' last sessions."""
        months = {}
        for as_of in as_ofs:
            rows = frame.filter(pl.col("date").is_between(as_of.replace(day=1), as_of)).sort("date")
            months[month_of(as_of)] = {
                "as_of": as_of.isoformat(),
                "date": [day.isoformat() for day in rows["date"]],
                "net_return": rows["net_return"].to_list(),
            }
        self._write(scope, "strategy", self.settings_of_strategy(scope), months)

    def _write(self, scope: str, kind: str, settings: Mapping[str, Any], months: Mapping[str, Any]) -> None:
        folder = f"trials/{scope}/{kind}-{trial_name(settings)}"
        # Settings first: months without settings would be an unknown trial.
        self._store.write_artifact(f"{folder}/{_SETTINGS}.json", _json(settings))
        contents = {f"{folder}/{month}.json": noted for month, noted in months.items()}
        stored = sorted(contents.keys() & set(self._store.artifacts(folder)))
        # A view of the past (QUANT__AS_OF) must not replace results with later sessions.
        newer = {
            name
            for name, noted in zip(stored, self._documents(stored), strict=True)
            if noted["as_of"] > contents[name]["as_of"]
        }
        self._store.write_artifacts({name: _json(noted) for name, noted in contents.items() if name not in newer})

    def present(self, scope: str) -> dict[str, dict[str, Any]]:
        """Settings that a run would try now, by the kind of trial."""
        return {"strategy": self.settings_of_strategy(scope), "training": self.settings_of_training()}

    def settings_of_training(self, model: str | None = None) -> dict[str, Any]:
        """Settings that define a training of a model; None for the first one that weights use."""
        return self._deciding().settings_of_training(self._settings, self._features, model)

    def settings_of_strategy(self, scope: str) -> dict[str, Any]:
        """Settings that define a backtest of a scope."""
        return self._deciding().settings_of_strategy(self._settings, self._features, scope)

    def _deciding(self) -> TrialPaths:
        if self.paths is None:
            raise RuntimeError("the settings that define a trial are known once graph.build_defs has been called")
        return self.paths

    def settings_of(self, trial: Trial) -> dict[str, Any]:
        """The settings of a trial."""
        return dict(self._documents([f"trials/{trial.scope}/{trial.kind}-{trial.name}/{_SETTINGS}.json"])[0])

    def trials(self, scope: str, first: str, last: str) -> list[Trial]:
        """Trials of a scope, in the order of their folders; the total portfolio's include the trainings of all sectors.

        Args:
            scope: sector slug or `PORTFOLIO`.
            first: first month of measurements; for a training, the newest one up to it is also read.
            last: last month of measurements. Trials of other months only are returned without measurements.

        Raises:
            DatasetError: a file cannot be read; names it.

        """
        trials = self._of_scope(scope, first, last)
        if scope == PORTFOLIO:
            trials += [
                trial for sector in SECTORS for trial in self._of_scope(sector, first, last) if trial.kind == "training"
            ]
        return trials

    def digests(self, scope: str, months: int) -> Callable[[str], str]:
        """A function from a month to a digest of the trials of that month and the `months` before.

        Later trials are left out.
        """
        folders = self._months_of(scope)
        names = [f"{folder}/{month}.json" for folder, noted in folders.items() for month in noted]
        hashes = {
            name: hashlib.sha256(content).hexdigest()
            for name, content in zip(names, self._store.read_artifacts(names), strict=True)
        }

        def of(month: str) -> str:
            digest = hashlib.sha256()
            for folder, noted in folders.items():
                if noted[0] <= month:
                    wanted = _wanted(folder, noted, shift_month(month, -months), month)
                    digest.update(
                        f"{folder} {noted[0]} {[hashes[f'{folder}/{each}.json'] for each in wanted]}\n".encode()
                    )
            return digest.hexdigest()[:_DIGEST_LENGTH]

        return of

    def _months_of(self, scope: str) -> dict[str, list[str]]:
        """Months with measurements, by folder of the trial."""
        folders: dict[str, list[str]] = {}
        for name in self._store.artifacts(f"trials/{scope}"):
            folder, _, file = name.rpartition("/")
            folders.setdefault(folder, []).append(file.removesuffix(".json"))
        # Without months, a run ended after writing the settings: not a trial yet.
        measured = {
            folder: [file for file in files if file != _SETTINGS]
            for folder, files in folders.items()
            if _SETTINGS in files
        }
        return {folder: months for folder, months in measured.items() if months}

    def _of_scope(self, scope: str, first: str, last: str) -> list[Trial]:
        trials = []
        for folder, months in self._months_of(scope).items():
            kind, name = _kind_and_name(folder)
            wanted = _wanted(folder, months, first, last)
            measured = self._documents([f"{folder}/{month}.json" for month in wanted])
            begun = date.fromisoformat(measured[0]["as_of"]) if wanted[:1] == months[:1] else month_start(months[0])
            if kind == "strategy":
                used = self._documents([f"{folder}/{_SETTINGS}.json"])[0]["training"]
                trainings = (used,) if isinstance(used, str) else tuple(used)
                rows = _stacked([_rows(each["as_of"], each["date"], each["net_return"], None) for each in measured])
                trials.append(Trial(name, "strategy", trainings, scope, begun, rows))
            else:
                horizon = self._settings.weights.horizon
                rows = _stacked([_training_rows(each, horizon) for each in measured])
                trials.append(Trial(name, "training", (), scope, begun, rows, horizon))
        return trials

    def _documents(self, names: Sequence[str]) -> list[Any]:
        documents = []
        for name, content in zip(names, self._store.read_artifacts(names), strict=True):
            try:
                documents.append(json.loads(content))
            except ValueError:
                url = self._store.artifact_url(name)
                raise DatasetError(f"{url} is not the JSON of a trial; delete it and run its month again") from None
        return documents


def _kind_and_name(folder: str) -> tuple[str, str]:
    kind, _, name = folder.rpartition("/")[2].partition("-")
    return kind, name


def _wanted(folder: str, months: Sequence[str], first: str, last: str) -> list[str]:
    """The months of a trial that are read.

    For a training, the newest month up to `first` counts too, however old.
    """
    kind, _ = _kind_and_name(folder)
    start = first if kind == "strategy" else max([month for month in months if month <= first], default=first)
    return [month for month in months if start <= month <= last]


def _training_rows(noted: Mapping[str, Any], horizon: int) -> pl.DataFrame:
    part = noted["horizons"].get(str(horizon)) or {"date": [], "best_return": [], "rank_ic": []}
    return _rows(noted["as_of"], part["date"], part["best_return"], part["rank_ic"])


def _rows(as_of: str, days: Sequence[str], values: Sequence[float], rank_ic: Sequence[float] | None) -> pl.DataFrame:
    columns = {
        "as_of": [date.fromisoformat(as_of)] * len(days),
        "date": [date.fromisoformat(day) for day in days],
        "value": values,
        "rank_ic": [None] * len(days) if rank_ic is None else rank_ic,
    }
    return pl.DataFrame(columns, schema=dict(MEASURED))


def _stacked(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=dict(MEASURED)), *parts]).sort("as_of", "date")


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, sort_keys=True, allow_nan=False) + "\n").encode()
