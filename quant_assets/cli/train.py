"""Bodies of `quant label`, `quant train` and `quant infer`: one model over chosen tickers and dates.

They read the stored datasets and write files; the storage does not change. `quant run` trains the models of the graph.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets import catalogue
from quant_assets.database import predictions_view, shown_url, upsert_predictions
from quant_assets.errors import HistoryError, SettingsError, UsageError
from quant_assets.inference import usable_models
from quant_assets.learning.calibration import Calibration, Interval
from quant_assets.learning.forecast import LoadedModel, forecast
from quant_assets.learning.model_files import VERSION_LENGTH, ModelFiles, sha256_of
from quant_assets.learning.registry import ModelSpec, load_model, read_signed, signed
from quant_assets.learning.residuals import ResidualBuckets
from quant_assets.learning.walk_forward import walk_forward
from quant_assets.market.containment import known
from quant_assets.model_versions import SIGNED, signing_key
from quant_assets.partitions import month_of, month_start, parse_key
from quant_assets.profile import Profile
from quant_assets.settings.domain import ModelSettings

_MANIFEST, _METRICS, _IMPORTANCES = "manifest.json", "metrics.json", "feature_importances.csv"


@dataclass(frozen=True)
class Span:
    """Selected tickers and days; empty or None for all."""

    tickers: Sequence[str]
    start: date | None
    end: date | None

    @classmethod
    def of(cls, tickers: Sequence[str], start: str | None, end: str | None) -> "Span":
        """From the options of a command.

        Raises:
            SettingsError: a day is not valid, or the first is later than the last.

        """
        first, last = (None if value is None else day(value) for value in (start, end))
        if first is not None and last is not None and first > last:
            raise UsageError(f"--start {first} is later than --end {last}; swap the two")
        return cls(separated(tickers), first, last)

    def read(self, profile: Profile, name: str) -> pl.DataFrame:
        """Rows of a dataset from all stored sectors, up to the last closed session of the profile."""
        dataset, last = profile.datasets[name], min(self.end or profile.last_session(), profile.last_session())
        first = self.start or date.min
        keys = [
            key
            for key in profile.store.existing(dataset)
            if (self.start is None or parse_key(key)[1] >= month_of(first)) and parse_key(key)[1] <= month_of(last)
        ]
        rows = profile.store.read(dataset, keys).filter(pl.col("date").is_between(first, last))
        if self.tickers:
            rows = rows.filter(pl.col("ticker").is_in(list(self.tickers)))
        return rows.collect()


def separated(tickers: Sequence[str]) -> list[str]:
    """Tickers of an option, whose values may be comma-separated."""
    return [name for value in tickers for name in value.split(",") if name]


def day(value: str) -> date:
    """Parse the day of an option.

    Raises:
        SettingsError: the value is not a day.

    """
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise UsageError(f"{value} is not a day; write it as YYYY-MM-DD, for example 2016-06-30") from None


def labels(profile: Profile, span: Span, horizon: int, folder: Path) -> Iterator[str]:
    """Write labels of one horizon as a Parquet file; yields a line with its path.

    Raises:
        SettingsError: the settings have no such horizon.
        HistoryError: no label is stored.

    """
    _check_horizon(profile, horizon)
    rows = _labels(profile, span, horizon)
    if rows.is_empty():
        raise HistoryError("no label is stored for these tickers and days; run: quant run --select ohlcv..labels")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"labels_h{horizon}.parquet"
    rows.write_parquet(path)
    ends = rows.select(pl.min("date"), last=pl.max("date")).cast(pl.String).row(0)
    yield f"{len(rows)} labels of {rows['ticker'].n_unique()} tickers, {' to '.join(ends)}: {path}"


def parameters_of_trees(
    n_estimators: int | None, learning_rate: float | None, num_leaves: int | None, kind: str
) -> dict[str, Any]:
    """Parameters of a kind from the options of `lightgbm`; None for an option that was not used.

    Raises:
        SettingsError: an option was used for another kind.

    """
    options = {"--n-estimators": n_estimators, "--learning-rate": learning_rate, "--num-leaves": num_leaves}
    if kind != "lightgbm":
        for option, value in options.items():
            if value is not None:
                raise UsageError(f"{option} is only for kind lightgbm, not for {kind}; leave the option out")
        return {}
    defaults = {"num_trees": 100, "learning_rate": 0.05, "num_leaves": 31}
    named = zip(defaults.items(), options.values(), strict=True)
    return {name: default if value is None else value for (name, default), value in named}


def training(
    profile: Profile,
    span: Span,
    horizon: int,
    kind: str,
    parameters: Mapping[str, Any],
    folder: Path,
    *,
    n_splits: int = 5,
    embargo: int = 2,
    test_size: float = 0.2,
    seed: int = 42,
) -> Iterator[str | Table]:
    """Train a model and write it with manifest, metrics and importances into a folder; yields lines and a table.

    Raises:
        UsageError: an option is out of range, or there is no such kind of model.
        HistoryError: the history is too short.

    """
    _check_horizon(profile, horizon)
    if n_splits < 1 or embargo < 0 or not 0 < test_size < 1:
        raise UsageError(f"{n_splits=} must be at least 1, {embargo=} at least 0, {test_size=} between 0 and 1")
    names = profile.features.names
    try:
        learner = catalogue.learner(kind.replace(":", "_"), ModelSettings(kind=kind, parameters=dict(parameters)))
    except SettingsError as error:  # kind and parameters were typed, and are not of a profile
        raise UsageError(str(error)) from None
    outcomes = _labels(profile, span, horizon).select("ticker", "date", "forward_return", "known_at")
    features = span.read(profile, "features").select("ticker", "date", *names)
    rows = outcomes.join(features, on=["ticker", "date"], how="inner", validate="1:1")
    yield from _left_out(span.tickers, rows, "no row has features and a known label")
    settings = profile.settings.predictions
    options = {"n_splits": n_splits, "test_size": test_size, "embargo_sessions": embargo, "seed": seed}
    result = walk_forward(rows, learner, horizon, names, settings, **options)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    files_folder = folder / "files"
    files_folder.mkdir(exist_ok=True)
    for old in files_folder.iterdir():
        old.unlink()
    result.model.write(files_folder)
    files = ModelFiles.of(files_folder, "model")
    for path in files_folder.iterdir():
        path.replace(folder / path.name)
    files_folder.rmdir()
    model_file = f"model{Path(files.name).suffix}" if len(files.paths) == 1 else "SHA256SUMS"
    config = {
        "kind": kind, "parameters": learner.parameters.model_dump(mode="json"), "horizon": horizon,
        "tickers": list(span.tickers), "start": str(span.start or ""), "end": str(span.end or ""),
        "features": list(names), **options,
    }  # fmt: skip
    manifest = {
        "kind": kind,
        "parameters": config["parameters"],
        "model_file": model_file,
        "model_sha256": sha256_of(folder / model_file),
        "features": list(names),
        "horizons": [horizon],
        "last_known_at": str(rows["known_at"].max()),
        **result.entries,
    }
    (folder / _MANIFEST).write_bytes(signed(manifest, signing_key()))
    metrics = {"overall_metrics": result.overall_metrics, "fold_metrics": result.fold_metrics, "config": config}
    text = json.dumps(metrics, indent=2, default=str, allow_nan=False) + "\n"
    (folder / _METRICS).write_text(text, encoding="utf-8")
    result.importances.write_csv(folder / _IMPORTANCES)
    table = Table()
    shown = ("fold", "train_start", "train_end", "test_start", "test_end", "n_train", "n_test", "rmse", "r2")
    for name in (*shown, "direction_accuracy"):
        table.add_column(name)
    for fold in result.fold_metrics:
        table.add_row(*(_text(fold[name]) for name in (*shown, "direction_accuracy")))
    yield table
    what = f"{len(rows)} rows of {rows['ticker'].n_unique()} tickers"
    held = result.entries["measured_coverage"]
    if held["share"] is not None:
        stated = f"intervals of {settings.interval_coverage:.0%} contained {held['share']:.1%} of {held['rows']}"
        yield f"{stated} outcomes in windows after those that they were estimated on"
    yield f"{what}; {model_file}, {_METRICS}, {_IMPORTANCES} in {folder}"


def inference(
    profile: Profile, model: str, tickers: Sequence[str], on: str | None, horizon: int | None, database: str | None
) -> Iterator[str | Table]:
    """Forecast a session and write the forecasts into the table `preds` of a database; yields lines and a table.

    Raises:
        SettingsError: the model does not exist, or was trained on data that became known after the day.
        HistoryError: no ticker has features on the day.

    """
    months = sorted({parse_key(partition)[1] for partition in profile.store.existing(profile.datasets["features"])})
    if not months:
        raise HistoryError("no features are stored; run: quant run --select ohlcv..features")
    session = None if on is None else day(on)
    rows = Span(tickers, session or month_start(months[-1]), session).read(profile, "features")
    rows = rows.filter(pl.col("date") == pl.col("date").max())
    if rows.is_empty():
        raise HistoryError(f"no ticker has features on {session or months[-1]}; the newest month is {months[-1]}")
    as_of: date = rows["date"][0]
    yield from _left_out(tickers, rows, f"no features on {as_of}")
    path, parts = Path(model), list[pl.DataFrame]()
    if path.exists():
        loaded, signature = _trained(profile, path, as_of)
        yield signature
        parts.append(forecast(rows.drop("sector", "month"), loaded, profile.settings.predictions))
    else:
        chosen = horizon or profile.settings.weights.horizon
        for (sector,), of_sector in rows.partition_by("sector", as_dict=True, maintain_order=True).items():
            models, notes = usable_models(profile, str(sector), model, as_of, chosen)
            yield from notes
            parts.append(forecast(of_sector.drop("sector", "month"), models, profile.settings.predictions))
    forecasts = pl.concat(parts)
    if horizon is not None:
        forecasts = forecasts.filter(pl.col("horizon") == horizon)
    if forecasts.is_empty():
        raise HistoryError(f"model {model} has no forecast on {as_of} at this horizon; leave --horizon out")
    table = Table()
    for name in ("ticker", "dt", "horizon", "yhat", "yhat_std", "prob_up", "interval"):
        table.add_column(name)
    for row in forecasts.sort("horizon", "prediction", descending=[False, True]).iter_rows(named=True):
        figures = (f"{row['prediction']:+.4f}", f"{row['prediction_std']:.4f}", f"{row['prob_up']:.3f}")
        ends = row["prediction_lower"], row["prediction_upper"]
        interval = "" if None in ends else f"{ends[0]:+.3f} {ends[1]:+.3f}"
        table.add_row(escape(row["ticker"]), str(row["date"]), str(row["horizon"]), *figures, interval)
    yield table
    where = database or _default_database(profile)
    written = upsert_predictions(where, forecasts)
    if database is None and profile.store.existing(profile.datasets["predictions"]):
        predictions_view(where, f"{profile.store.url}/predictions")
    yield f"{written} rows in table preds of {shown_url(where)}"


def _left_out(tickers: Sequence[str], rows: pl.DataFrame, why: str) -> Iterator[str]:
    """A line on selected tickers without rows, if others have rows."""
    absent = sorted(set(tickers) - set(rows["ticker"]))
    if absent and len(rows):
        yield f"left out: {', '.join(absent)}: {why}"


def _default_database(profile: Profile) -> str:
    if not profile.store.local:
        raise SettingsError(f"the storage is {profile.store.url}: name a database with --database")
    return f"{profile.store.url}/exports/predictions.duckdb"


def _trained(profile: Profile, path: Path, as_of: date) -> tuple[dict[int, LoadedModel], str]:
    """The verified model in a folder of `quant train`, and a line on the signature of its manifest."""
    folder = path if path.is_dir() else path.parent
    if not (folder / _MANIFEST).is_file():
        raise SettingsError(f"{folder} has no {_MANIFEST}; name a folder that quant train has written")
    manifest, signature = read_signed((folder / _MANIFEST).read_bytes(), signing_key(), str(folder / _MANIFEST))
    if manifest["last_known_at"] >= as_of.isoformat():
        raise SettingsError(
            f"model {path} was trained on data known up to {manifest['last_known_at']}; choose a later --date"
        )
    spec = ModelSpec.of_manifest(manifest, str(folder / manifest["model_file"]), folder.name)
    fitted, checksum = load_model(spec, type_of=catalogue.kind_of(profile.settings))
    # As in `load_models`: an older folder may have no calibration.
    calibration, interval = (
        Calibration.from_manifest(manifest.get("calibration")),
        Interval.from_manifest(manifest.get("interval")),
    )
    record = ResidualBuckets.from_manifest(manifest["residuals"]), calibration, interval
    # By kind and content: folder names repeat, and a second model would replace the rows of the first.
    name = f"{manifest['kind']}@{checksum[:VERSION_LENGTH]}"
    loaded = {horizon: LoadedModel(name, fitted, checksum[:VERSION_LENGTH], *record) for horizon in spec.horizons}
    return loaded, f"{folder / _MANIFEST}: {SIGNED[signature]}"


def _labels(profile: Profile, span: Span, horizon: int) -> pl.DataFrame:
    """Labels that are known at the last day and do not cross an unexplained price step."""
    last = min(span.end or profile.last_session(), profile.last_session())
    rows = known(span.read(profile, "labels")).filter((pl.col("horizon") == horizon) & (pl.col("known_at") <= last))
    return rows.drop("month").sort("ticker", "date")


def _check_horizon(profile: Profile, horizon: int) -> None:
    if horizon not in profile.settings.labels.horizons:
        raise UsageError(f"--horizon {horizon} is not one of labels.horizons {profile.settings.labels.horizons}")


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
