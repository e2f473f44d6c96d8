"""Logging of trainings to MLflow, if `learning.mlflow` is set. Nothing reads them back.

MLflow takes seconds to import, so only the logging function imports it. Its telemetry is switched off.
"""

import json
import os
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from quant_assets.errors import SettingsError
from quant_assets.io.store import DatasetStore
from quant_assets.learning.trained import TrainedModel
from quant_assets.settings.loading import DEFAULT_MLFLOW, LearningSettings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

#: Set before MLflow is imported, unless already set: no telemetry, no informational lines, and timeouts of seconds
#: instead of minutes.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}

#: MLflow's limits of metrics and parameters per call.
_METRICS_AT_ONCE, _PARAMETERS_AT_ONCE = 1_000, 100
#: Features per measure: all of them would double the time, and are in the checkpoint's CSV.
_FEATURES = 25
#: Longest parameter value that every store accepts.
_LONGEST = 500

#: Tag that identifies a training.
_MANIFEST = "quant.manifest_sha256"


def log_trainings(
    settings: LearningSettings, store: DatasetStore, profile: str, sector: str, trained: Sequence[TrainedModel]
) -> str | None:
    """Log trainings as runs of experiment `quant-assets/<profile>`, one run per model and horizon.

    A run has the parameters, the metrics over all test folds, the metrics per fold under `fold/` (step: the fold),
    and the top features under `importance/` and `contribution/`. The SHA-256 of the training's manifest identifies a
    run: a finished one is not logged again, an interrupted one is replaced.

    Args:
        settings: with the destination.
        store: of the profile; its folder is the default destination.
        profile: its name.
        sector: slug.
        trained: results; those without a model are skipped.

    Returns:
        The reason of a failure, in one line; None without failure, or if there is nothing to log.

    """
    logged = [item for item in trained if item.manifest]
    if settings.mlflow is None or not logged:
        return None
    try:
        with warnings.catch_warnings():  # of MLflow's and Alembic's own code
            warnings.simplefilter("ignore")
            _log(_uri(settings.mlflow, store), f"quant-assets/{profile}", sector, logged)
    except Exception as error:  # noqa: BLE001 a failure of logging must not fail a training
        first = str(error).strip().splitlines() or [""]
        why = f"{type(error).__name__}: {first[0][:300]}"
        if isinstance(error, ImportError):
            why = f"{why}; install the extra mlflow (pip install 'quant-assets[mlflow]')"
        models = ", ".join(dict.fromkeys(item.model for item in logged))
        return f"{sector}, {logged[0].as_of}: trainings of {models} are not in MLflow (learning.mlflow): {why}"
    return None


def _uri(uri: str, store: DatasetStore) -> str:
    if uri != DEFAULT_MLFLOW:
        return uri
    if not store.local:
        raise SettingsError(f"the storage {store.url} is not local: set a store's URI instead of {DEFAULT_MLFLOW}")
    return f"sqlite:///{store.url}/mlflow.db"


def _open_once(uri: str) -> None:
    """Fail at once if the file is not a database: MLflow retries ten times, for over a minute."""
    path = uri.removeprefix("sqlite:///")
    if path != uri and os.path.exists(path):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA schema_version")


def _log(uri: str, experiment: str, sector: str, trained: Sequence[TrainedModel]) -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    _open_once(uri)
    client = MlflowClient(tracking_uri=uri)
    number = _experiment(client, experiment)
    for item in trained:
        same = client.search_runs([number], f"tags.`{_MANIFEST}` = '{item.manifest_sha256}'")
        if any(run.info.status == "FINISHED" for run in same):
            continue
        for run in same:
            client.delete_run(run.info.run_id)
        _log_one(client, number, sector, item)


def _experiment(client: "MlflowClient", name: str) -> str:
    from mlflow.exceptions import MlflowException

    if (experiment := client.get_experiment_by_name(name)) is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # another process was faster, or the next line fails too
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    return str(experiment.experiment_id)


def _log_one(client: "MlflowClient", experiment: str, sector: str, item: TrainedModel) -> None:
    from mlflow.entities import Metric, Param

    manifest: dict[str, Any] = json.loads(item.manifest or b"{}")
    labels = {"sector": sector, "model": item.model, "kind": item.kind, "as_of": item.as_of.isoformat()}
    tags = labels | {"horizon": str(item.horizon), "version": str(item.model_version)}
    run = client.create_run(
        experiment,
        tags={f"quant.{name}": value for name, value in tags.items()} | {_MANIFEST: str(item.manifest_sha256)},
        run_name=f"{sector} {item.as_of} {item.model} {item.horizon} d",
    )
    at = int(np.datetime64(item.as_of, "ms").astype(np.int64))
    metrics = [Metric(name, value, at, step) for name, value, step in _metrics(manifest)]
    parameters = [Param(name, value[:_LONGEST]) for name, value in sorted(_parameters(manifest).items())]
    for begin in range(0, len(parameters), _PARAMETERS_AT_ONCE):
        client.log_batch(run.info.run_id, params=parameters[begin : begin + _PARAMETERS_AT_ONCE])
    for begin in range(0, len(metrics), _METRICS_AT_ONCE):
        client.log_batch(run.info.run_id, metrics=metrics[begin : begin + _METRICS_AT_ONCE])
    client.set_terminated(run.info.run_id)


def _metrics(manifest: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """Name, value and step of the figures in a manifest, without undefined ones."""
    measured = manifest["measured_coverage"]["share"], manifest["reliability"]["calibrated"]["brier"]
    overall = manifest["metrics"] | dict(zip(("interval_coverage", "brier"), measured, strict=True))
    parts = [("", overall, 0)]
    parts += [("fold/", fold["metrics"], step) for step, fold in enumerate(manifest["folds"])]
    parts += [
        (f"importance/{measure}/", _greatest(values), 0) for measure, values in manifest["mean_importance"].items()
    ]
    if manifest["contributions"]:
        parts.append(("contribution/", _greatest(manifest["contributions"]["mean_absolute"]), 0))
    for prefix, values, step in parts:
        for name, value in values.items():
            if value is not None:
                yield f"{prefix}{name}", float(value), step


def _greatest(values: Mapping[str, float]) -> dict[str, float]:
    return {name: values[name] for name in sorted(values, key=lambda each: (-values[each], each))[:_FEATURES]}


def _parameters(told: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a training; nested settings get dotted names."""
    found = {"features": len(told["features"]), "rows": told["data"]["rows"], "target": told["target"]}
    for name, value in (told["settings"] | {"predictions": told["prediction_settings"]}).items():
        nested = value.items() if isinstance(value, Mapping) else None
        found |= {name: value} if nested is None else {f"{name}.{each}": own for each, own in nested}
    return {name: str(value) for name, value in found.items()}
