"""Bodies of `quant label`, `quant train` and `quant infer`: one model over tickers and dates of one's own choice.

They read the stored datasets and write files; nothing stored changes. The graph's trainings are `quant run`'s.
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
from quant_assets.errors import HistoryError, SettingsError
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
    """Tickers and days that are asked for; all of them where empty or None."""

    tickers: Sequence[str]
    start: date | None
    end: date | None

    @classmethod
    def of(cls, tickers: Sequence[str], start: str | None, end: str | None) -> "Span":
        """From the options of a command.

        Raises:
            SettingsError: a day is not written as one, or the first is later than the last.

        """
        first, last = (None if each is None else day(each) for each in (start, end))
        if first is not None and last is not None and first > last:
            raise SettingsError(f"--start {first} is later than --end {last}; exchange the two")
        return cls(separated(tickers), first, last)

    def read(self, profile: Profile, name: str) -> pl.DataFrame:
        """Rows of a dataset, from all sectors that are stored; none after the profile's last closed session."""
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
    """Tickers of an option, which may name several by commas."""
    return [name for each in tickers for name in each.split(",") if name]


def day(given: str) -> date:
    """A day of an option.

    Raises:
        SettingsError: it is none.

    """
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise SettingsError(f"{given} is not a day; write it as YYYY-MM-DD, for example 2016-06-30") from None


def labels(profile: Profile, span: Span, horizon: int, folder: Path) -> Iterator[str]:
    """What `quant label` prints; the labels are written as one Parquet file for the horizon.

    Raises:
        SettingsError: no such labels are made.
        HistoryError: there is none.

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
    """Parameters of a kind from options that only `lightgbm` has; None where one is not given.

    Raises:
        SettingsError: one is given for another kind.

    """
    given = {"--n-estimators": n_estimators, "--learning-rate": learning_rate, "--num-leaves": num_leaves}
    if kind != "lightgbm":
        for option, value in given.items():
            if value is not None:
                raise SettingsError(
                    f"{option} is of kind lightgbm, not of {kind}; leave it away, or train another kind"
                )
        return {}
    defaults = {"num_trees": 100, "learning_rate": 0.05, "num_leaves": 31}
    named = zip(defaults.items(), given.values(), strict=True)
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
    """What `quant train` prints; model, manifest, metrics and importances are written into the folder.

    Raises:
        SettingsError: an option is out of range.
        HistoryError: there is too little history.

    """
    _check_horizon(profile, horizon)
    if n_splits < 1 or embargo < 0 or not 0 < test_size < 1:
        raise SettingsError(f"{n_splits=} must be at least 1, {embargo=} at least 0, {test_size=} between 0 and 1")
    names = profile.features.names
    learner = catalogue.learner(kind.replace(":", "_"), ModelSettings(kind=kind, parameters=dict(parameters)))
    outcomes = _labels(profile, span, horizon).select("ticker", "date", "forward_return", "known_at")
    features = span.read(profile, "features").select("ticker", "date", *names)
    rows = outcomes.join(features, on=["ticker", "date"], how="inner", validate="1:1")
    yield from _left_out(span.tickers, rows, "no row has features and a known label")
    settings = profile.settings.predictions
    options = {"n_splits": n_splits, "test_size": test_size, "embargo_sessions": embargo, "seed": seed}
    found = walk_forward(rows, learner, horizon, names, settings, **options)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "files"
    place.mkdir(exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    found.model.write(place)
    files = ModelFiles.of(place, "model")
    for path in place.iterdir():
        path.replace(folder / path.name)
    place.rmdir()
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
        **found.entries,
    }
    (folder / _MANIFEST).write_bytes(signed(manifest, signing_key()))
    metrics = {"overall_metrics": found.overall_metrics, "fold_metrics": found.fold_metrics, "config": config}
    text = json.dumps(metrics, indent=2, default=str, allow_nan=False) + "\n"
    (folder / _METRICS).write_text(text, encoding="utf-8")
    found.importances.write_csv(folder / _IMPORTANCES)
    table = Table()
    shown = ("fold", "train_start", "train_end", "test_start", "test_end", "n_train", "n_test", "rmse", "r2")
    for name in (*shown, "direction_accuracy"):
        table.add_column(name)
    for fold in found.fold_metrics:
        table.add_row(*(_text(fold[name]) for name in (*shown, "direction_accuracy")))
    yield table
    what = f"{len(rows)} rows of {rows['ticker'].n_unique()} tickers"
    held = found.entries["measured_coverage"]
    if held["share"] is not None:
        stated = f"intervals of {settings.interval_coverage:.0%} held {held['share']:.1%} of {held['rows']} outcomes"
        yield f"{stated} of later windows than those that they follow from"
    yield f"{what}; {model_file}, {_METRICS}, {_IMPORTANCES} in {folder}"


def inference(
    profile: Profile, model: str, tickers: Sequence[str], on: str | None, horizon: int | None, database: str | None
) -> Iterator[str | Table]:
    """What `quant infer` prints; the forecasts go into table `preds` of a database.

    Raises:
        SettingsError: there is no such model, or it was trained on what became known later than the day.
        HistoryError: no ticker has features on the day.

    """
    months = sorted({parse_key(each)[1] for each in profile.store.existing(profile.datasets["features"])})
    if not months:
        raise HistoryError("no features are stored; run: quant run --select ohlcv..features")
    asked = None if on is None else day(on)
    rows = Span(tickers, asked or month_start(months[-1]), asked).read(profile, "features")
    rows = rows.filter(pl.col("date") == pl.col("date").max())
    if rows.is_empty():
        raise HistoryError(f"no ticker has features on {asked or months[-1]}; the newest month is {months[-1]}")
    as_of: date = rows["date"][0]
    yield from _left_out(tickers, rows, f"no features on {as_of}")
    place, parts = Path(model), list[pl.DataFrame]()
    if place.exists():
        loaded, signature = _trained(profile, place, as_of)
        yield signature
        parts.append(forecast(rows.drop("sector", "month"), loaded, profile.settings.predictions))
    else:
        chosen = horizon or profile.settings.weights.horizon
        for (sector,), own in rows.partition_by("sector", as_dict=True, maintain_order=True).items():
            models, notes = usable_models(profile, str(sector), model, as_of, chosen)
            yield from notes
            parts.append(forecast(own.drop("sector", "month"), models, profile.settings.predictions))
    found = pl.concat(parts)
    if horizon is not None:
        found = found.filter(pl.col("horizon") == horizon)
    if found.is_empty():
        raise HistoryError(f"model {model} forecasts nothing on {as_of} over the sessions that are asked for")
    table = Table()
    for name in ("ticker", "dt", "horizon", "yhat", "yhat_std", "prob_up", "interval"):
        table.add_column(name)
    for row in found.sort("horizon", "prediction", descending=[False, True]).iter_rows(named=True):
        figures = (f"{row['prediction']:+.4f}", f"{row['prediction_std']:.4f}", f"{row['prob_up']:.3f}")
        ends = row["prediction_lower"], row["prediction_upper"]
        interval = "" if None in ends else f"{ends[0]:+.3f} {ends[1]:+.3f}"
        table.add_row(escape(row["ticker"]), str(row["date"]), str(row["horizon"]), *figures, interval)
    yield table
    where = database or _default_database(profile)
    written = upsert_predictions(where, found)
    if database is None and profile.store.existing(profile.datasets["predictions"]):
        predictions_view(where, f"{profile.store.url}/predictions")
    yield f"{written} rows in table preds of {shown_url(where)}"


def _left_out(tickers: Sequence[str], rows: pl.DataFrame, why: str) -> Iterator[str]:
    """Names that were asked for and have no rows, where others have."""
    absent = sorted(set(tickers) - set(rows["ticker"]))
    if absent and len(rows):
        yield f"left out: {', '.join(absent)}: {why}"


def _default_database(profile: Profile) -> str:
    if not profile.store.local:
        raise SettingsError(f"the storage is {profile.store.url}: name a database with --database")
    return f"{profile.store.url}/exports/predictions.duckdb"


def _trained(profile: Profile, place: Path, as_of: date) -> tuple[dict[int, LoadedModel], str]:
    """A model that `quant train` left, verified, and what its manifest's signature is worth."""
    folder = place if place.is_dir() else place.parent
    if not (folder / _MANIFEST).is_file():
        raise SettingsError(f"{folder} has no {_MANIFEST}; name a folder that quant train has written")
    told, signature = read_signed((folder / _MANIFEST).read_bytes(), signing_key(), str(folder / _MANIFEST))
    if told["last_known_at"] >= as_of.isoformat():
        raise SettingsError(
            f"model {place} was trained on what became known up to {told['last_known_at']}; ask for a later --date"
        )
    spec = ModelSpec.of_manifest(told, str(folder / told["model_file"]), folder.name)
    fitted, checksum = load_model(spec, type_of=catalogue.kind_of(profile.settings))
    # As of a checkpoint (`load_models`): an older folder without a calibration is forecast without one.
    calibration, interval = (
        Calibration.from_manifest(told.get("calibration")),
        Interval.from_manifest(told.get("interval")),
    )
    record = ResidualBuckets.from_manifest(told["residuals"]), calibration, interval
    # By kind and content: folders of two models are often called the same, and a second one would replace its rows.
    name = f"{told['kind']}@{checksum[:VERSION_LENGTH]}"
    loaded = {each: LoadedModel(name, fitted, checksum[:VERSION_LENGTH], *record) for each in spec.horizons}
    return loaded, f"{folder / _MANIFEST}: {SIGNED[signature]}"


def _labels(profile: Profile, span: Span, horizon: int) -> pl.DataFrame:
    """Labels that are known at the last day that is asked for, and do not cross what nothing explains."""
    last = min(span.end or profile.last_session(), profile.last_session())
    rows = known(span.read(profile, "labels")).filter((pl.col("horizon") == horizon) & (pl.col("known_at") <= last))
    return rows.drop("month").sort("ticker", "date")


def _check_horizon(profile: Profile, horizon: int) -> None:
    if horizon not in profile.settings.labels.horizons:
        raise SettingsError(f"--horizon {horizon} is none of labels.horizons {profile.settings.labels.horizons}")


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
