"""Bodies of `quant models`: lists, verifies, registers, promotes and compares models."""

import json
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets.catalogue import kind_of
from quant_assets.errors import DatasetError, QuantError, SettingsError, UsageError
from quant_assets.inference import usable_models
from quant_assets.learning.checkpoints import FORECASTING
from quant_assets.learning.comparison import compared
from quant_assets.learning.gate import against, gated, suspected
from quant_assets.learning.model_files import LISTING, fetch, sha256, verified
from quant_assets.learning.reference import stored_reference
from quant_assets.learning.registry import Loaded, read_signed
from quant_assets.market.calendar import last_session_to
from quant_assets.model_versions import ModelVersions, Version, files_at, signing_key
from quant_assets.partitions import key, month_end, month_range, parse_key, shift_month
from quant_assets.profile import Profile
from quant_assets.settings.domain import ENSEMBLE
from quant_assets.settings.sectors import SECTORS


def listed(profile: Profile, sectors: Sequence[str]) -> Iterator[str | Table]:
    """A table of the newest checkpoint of every model, and lines on the registered versions."""
    versions = ModelVersions(profile.store)
    rows = _checkpoints(profile, sectors).filter(pl.col("status").is_in(FORECASTING))
    newest = rows.filter(pl.col("as_of") == pl.col("as_of").max().over("sector", "model"))
    table = _table("sector", "model", "kind", "as of", "status", "horizon", "version", "rank IC", "champion")
    for row in newest.sort("sector", "model", "horizon").iter_rows(named=True):
        table.add_row(
            row["sector"],
            row["model"],
            row["kind"],
            str(row["as_of"]),
            row["status"],
            str(row["horizon"]),
            row["model_version"],
            "" if row["rank_ic"] is None else f"{row['rank_ic']:+.3f}",
            "yes" if _champion(profile, versions, row["sector"]) == row["model"] else "",
        )
    if table.row_count:
        yield table
    else:
        yield (
            f"no trained model of {', '.join(sectors)} is in {profile.store.url}; quant run --profile "
            f"{profile.settings.profile} --sector {sectors[0]} --to {profile.last_month()} trains those of the settings"
        )
    for version_name in versions.versions():
        of = ", ".join(sector for sector in SECTORS if _champion(profile, versions, sector) == version_name)
        champion = f"; champion of {of}" if of else ""
        try:
            version = versions.version(version_name)
        except QuantError as error:
            yield f"registered {version_name}: not usable: {error}{champion}"
            continue
        yield f"registered {version_name}: kind {version.manifest['kind']}, {version.worth}{champion}"


def shown(profile: Profile, model: str, sectors: Sequence[str]) -> Iterator[str | Table]:
    """The manifest of a registered version, or a table of the trainings of a model.

    Raises:
        UsageError: the model does not exist.

    """
    if "@" in model:
        version = ModelVersions(profile.store).version(model)
        yield version.worth
        yield json.dumps(dict(version.manifest), indent=2, sort_keys=True, ensure_ascii=False)
        return
    _of_settings(profile, model)
    names = (
        "sector",
        "as_of",
        "horizon",
        "status",
        "model_version",
        "rows",
        "rmse",
        "r2",
        "direction_accuracy",
        "rank_ic",
    )
    table = _table(*names)
    rows = _checkpoints(profile, sectors).filter(pl.col("model") == model).sort("sector", "as_of", "horizon")
    for row in rows.select(names).iter_rows():
        table.add_row(
            *("" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value) for value in row)
        )
    yield table


def verification(profile: Profile, models: Sequence[str], sectors: Sequence[str]) -> Iterator[str]:
    """Compare files with their recorded hashes; yields a line for every file that differs. Loads no model.

    Raises:
        UsageError: there is no model of a name.
        SettingsError: a model has no checkpoint there.
        DatasetError: at the end, if a file differs.

    """
    versions, bad, good = ModelVersions(profile.store), 0, 0
    rows = _checkpoints(profile, sectors).filter(pl.col("status").is_in(FORECASTING))
    registered = versions.versions()
    names = {*rows["model"], *registered, *(name.partition("@")[0] for name in registered)}
    if unknown := [name for name in models if name not in names]:
        refused = SettingsError if unknown[0] in profile.settings.models else UsageError
        raise refused(
            f"model '{unknown[0]}' has no checkpoint in {', '.join(sectors)} and is not registered; there are: "
            f"{', '.join(sorted(names)) or 'none'}"
        )
    if models:
        rows = rows.filter(pl.col("model").is_in(list(models)))
    for row in rows.unique("manifest_file", maintain_order=True).iter_rows(named=True):
        shown = f"{row['sector']} {row['as_of']}, model {row['model']}, horizon {row['horizon']}"
        try:
            stored_reference(row, profile.store.read_artifact, Loaded(1))  # its manifest, too
            _hashed(profile, row["model_file"], row["model_sha256"])
            good += 1
        except DatasetError as error:
            bad += 1
            yield f"{shown}: {error}"
    for name in registered:
        if models and name not in models and name.partition("@")[0] not in models:
            continue
        try:
            yield f"{name}: {versions.verify(name).worth}"
            good += 1
        except DatasetError as error:
            bad += 1
            yield f"{name}: {error}"
    yield f"{good} of {good + bad} models are intact"
    if bad:
        raise DatasetError(
            f"{bad} of {good + bad} models have changed since they were written; see above for the remedy"
        )


def registered(
    profile: Profile,
    name: str,
    path: Path | None,
    kind: str | None,
    horizon: int | None,
    sector: str | None,
    trained_until: str | None = None,
) -> Iterator[str]:
    """Register a file, or the newest checkpoint of a model of the settings, as a version; yields its name.

    Raises:
        SettingsError: options exclude each other, or the last day of the training data is not known.
        DatasetError: the files are not intact, or are not a model of the kind.

    """
    versions = ModelVersions(profile.store, type_of=kind_of(profile.settings))
    chosen = horizon or profile.settings.weights.horizon
    facts: dict[str, Any]
    if path is not None:
        contents, model_file = files_at(path)
        facts = _facts(path, contents[model_file], kind, horizon, trained_until) | {"sector": sector}
        facts = {"horizons": [chosen]} | {fact: value for fact, value in facts.items() if value is not None}
    else:
        if sector is None:
            raise SettingsError(
                "register needs --path FILE --kind KIND, or --sector for the newest checkpoint of a model"
            )
        _of_settings(profile, name)
        rows = _checkpoints(profile, [sector]).filter(
            (pl.col("model") == name) & (pl.col("status") == "trained") & (pl.col("horizon") == chosen)
        )
        if rows.is_empty():
            raise SettingsError(f"sector {sector} has no checkpoint of model {name} over {chosen} sessions")
        row = rows.sort("as_of").row(-1, named=True)
        manifest = json.loads(
            verified("manifest", profile.store.read_artifact(row["manifest_file"]), row["manifest_sha256"])
        )
        contents, model_file = _contents(profile, row["model_file"], row["model_sha256"])
        facts = {
            "kind": profile.models.kinds[name],
            "horizons": manifest.get("horizons", [manifest["horizon"]]),
            "features": manifest["features"],
            "parameters": profile.models.learners[name].parameters.model_dump(mode="json"),
            "sector": sector,
            "as_of": manifest["as_of"],
            "last_known_at": row["last_known_at"].isoformat(),
            "rank_ic": row["rank_ic"],
        }
    version = versions.register(name, contents, model_file, facts)
    yield f"registered {version.said}, {version.worth}"


def promoted(profile: Profile, model: str, sectors: Sequence[str], *, force: bool = False) -> Iterator[str]:
    """Make a model the champion, which `quant predict` uses from now on; yields a line per sector.

    Raises:
        SettingsError: the model does not exist.
        DatasetError: its files are not intact; or, unless `force`, its checkpoint does not beat the linear baseline
            out of sample, has an implausible daily IC, or has no IC.

    """
    versions = ModelVersions(profile.store)
    for sector in sectors:
        if "@" in model:
            _fits(profile, versions.verify(model), sector)
        elif model != ENSEMBLE:
            _of_settings(profile, model)
            _, notes = usable_models(profile, sector, model, _next(profile, sector), profile.settings.weights.horizon)
            if notes:
                raise DatasetError(f"model {model} is not promoted: {notes[0]}")
        if reasons := _against(profile, versions, model, sector):
            if not force:
                raise DatasetError(f"model {model} is not promoted: {reasons[0]}; --force promotes it anyway")
            yield f"promoted anyway: {reasons[0]}"
    for sector in sectors:
        before = _champion(profile, versions, sector)
        since = versions.promote(sector, model, profile.last_session()).since
        was = "unchanged" if before == model else f"before it {before}"
        yield f"{sector}: {model} is the champion of decisions from {since} on, {was}"


def rolled_back(profile: Profile, sectors: Sequence[str]) -> Iterator[str]:
    """Make the previous champion the champion again; yields a line per sector.

    Raises:
        SettingsError: a sector has no previous champion.

    """
    versions = ModelVersions(profile.store)
    for sector in sectors:
        before = _champion(profile, versions, sector)
        again = versions.roll_back(sector, profile.last_session()).model
        yield f"{sector}: {again} is the champion again, before it {before}"


def comparison(
    profile: Profile, challenger: str, champion: str | None, sector: str, first: str, last: str, horizon: int | None
) -> Iterator[str | Table]:
    """A table that compares the forecasts of two models.

    Raises:
        QuantError: a month is not stored, or a model has no forecasts.

    """
    over = horizon or profile.settings.weights.horizon
    against = champion or _champion(profile, ModelVersions(profile.store), sector)
    keys = [key(sector, month) for month in month_range(first, last)]
    forecasts, labels = (
        profile.store.read(profile.datasets[name], keys).filter(pl.col("horizon") == over).collect()
        for name in ("predictions", "labels")
    )
    of_model = {name: forecasts.filter(pl.col("model") == name) for name in (against, challenger)}
    for name, rows in of_model.items():
        if rows.is_empty():
            present = ", ".join(forecasts["model"].unique().sort()) or "none"
            raise QuantError(f"predictions of {sector} {first} to {last} lack model {name}; models: {present}")
    labels = labels.filter(~pl.col("unexplained"))
    yield f"{sector} {first} to {last}, {over} sessions ahead: {challenger} (challenger) against {against} (champion)"
    table = _table("figure", "champion", "challenger", "difference", "error", "sessions")
    for row in compared(of_model[against], of_model[challenger], labels, over):
        error = "" if row.error is None else f"{row.error:.4f}"
        values = (f"{value:+.4f}" for value in (row.champion, row.challenger, row.difference))
        table.add_row(row.figure, *values, error, str(row.sessions))
    yield table
    yield "column error: standard error of the mean difference, corrected for overlapping outcomes"


def _fits(profile: Profile, version: Version, sector: str) -> None:
    """Refuse a version of another sector, or without the horizon of the weights."""
    manifest, horizon = version.manifest, profile.settings.weights.horizon
    if (of := manifest.get("sector", sector)) != sector:
        raise SettingsError(f"model {version.said} is of sector {of}, not of {sector}; give --sector {of}")
    if horizon not in manifest["horizons"]:
        raise SettingsError(
            f"model {version.said} forecasts {manifest['horizons']} sessions ahead, weights.horizon is {horizon}"
        )


def _against(profile: Profile, versions: ModelVersions, model: str, sector: str) -> list[str]:
    """Reasons not to promote a model at the horizon of the weights.

    A model of the settings is judged by its newest checkpoint, a version by the checkpoint with its content, the
    ensemble by the newest checkpoints of its models: none may be implausible, and one must beat the baseline.
    """
    rows = _checkpoints(profile, [sector]).filter(pl.col("horizon") == profile.settings.weights.horizon)
    checkpoints, settings = (
        gated(rows, profile.settings.promotion, profile.models.directions),
        profile.settings.promotion,
    )
    if "@" in model:
        checksum = versions.version(model).manifest["model_sha256"]
        checkpoints = checkpoints.join(
            rows.filter(pl.col("model_sha256") == checksum), on=["as_of", "model"], how="semi"
        )
    elif model != ENSEMBLE:
        checkpoints = checkpoints.filter(pl.col("model") == model)
    newest = checkpoints.filter(pl.col("as_of") == pl.col("as_of").max())
    if newest.is_empty():
        return [f"{sector}: no checkpoint of it has an IC over {profile.settings.weights.horizon} sessions"]
    if model != ENSEMBLE:
        return against(newest, settings)
    better = newest.filter(pl.col("promoted") & pl.col("beats_baseline"))
    none = [] if len(better) else [f"{sector}: none of its models beats the linear baseline"]
    return [*suspected(newest, settings), *none]


def _facts(
    path: Path, content: bytes, kind: str | None, horizon: int | None, trained_until: str | None
) -> dict[str, Any]:
    """Facts about a model's file, from the options and the manifest of `quant train` beside it; null if unknown."""
    beside = (path if path.is_dir() else path.parent) / "manifest.json"
    manifest = read_signed(beside.read_bytes(), signing_key(), str(beside))[0] if beside.is_file() else {}
    if manifest and manifest.get("model_sha256") != sha256(content):
        raise DatasetError(f"{beside} belongs to another model than {path}: restore that file, or move it away")
    try:
        until = None if trained_until is None else date.fromisoformat(trained_until).isoformat()
    except ValueError:
        raise UsageError(f"--trained-until {trained_until} is not a day; write it as YYYY-MM-DD") from None
    days = [name for name in (until, manifest.get("last_known_at")) if name is not None]
    if not days:
        raise UsageError(
            f"--path {path} needs --trained-until DAY, the last day of its training data, labels included: the version "
            "forecasts only later days"
        )
    if (of := kind or manifest.get("kind")) is None:
        raise UsageError("--path needs --kind: no manifest.json beside the file names it")
    for what, option, in_manifest in (
        ("--kind", kind, [manifest.get("kind")]),
        ("--horizon", horizon, manifest.get("horizons")),
    ):
        if manifest and option is not None and option not in (in_manifest or ()):
            raise SettingsError(f"{what} {option} differs from {in_manifest} in {beside}; leave the option out")
    horizons = manifest.get("horizons") or (None if horizon is None else [horizon])
    rest = {name: manifest.get(name) for name in ("features", "parameters")}
    return {"kind": of, "horizons": horizons, "last_known_at": max(days)} | rest


def _next(profile: Profile, sector: str) -> date:
    """Last closed session of the month after the newest stored trainings, the first month that they forecast."""
    existing = {key for name in profile.models.checkpoints for key in profile.store.existing(profile.datasets[name])}
    stored = [parse_key(partition)[1] for partition in existing if parse_key(partition)[0] == sector]
    last = profile.last_session()
    return min(last_session_to(month_end(shift_month(max(stored), 1))), last) if stored else last


def _champion(profile: Profile, versions: ModelVersions, sector: str) -> str:
    champion = versions.champion(sector)
    return champion.model if champion else str(profile.settings.weights.model)


def _of_settings(profile: Profile, model: str) -> None:
    if model not in profile.settings.models:
        raise UsageError(f"model '{model}' does not exist; choose one of {', '.join(profile.settings.models)}")


def _checkpoints(profile: Profile, sectors: Sequence[str]) -> pl.DataFrame:
    parts = []
    for name in profile.models.checkpoints:
        dataset = profile.datasets[name]
        stored = [partition for partition in profile.store.existing(dataset) if parse_key(partition)[0] in set(sectors)]
        parts.append(profile.store.read(dataset, stored).collect())
    return pl.concat(parts)


def _hashed(profile: Profile, name: str, expected: str) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        fetch(name, expected, profile.store.read_artifact, Path(folder))


def _contents(profile: Profile, name: str, expected: str) -> tuple[dict[str, bytes], str]:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        fetch(name, expected, profile.store.read_artifact, Path(folder))
        file = Path(name)
        if file.name == LISTING:
            (Path(folder) / LISTING).write_bytes(profile.store.read_artifact(name))
            return files_at(Path(folder))
        return files_at(Path(folder) / f"model{file.suffix}")


def _table(*names: str) -> Table:
    table = Table()
    for name in names:
        table.add_column(escape(name))
    return table
