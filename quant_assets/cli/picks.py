"""Body of `quant picks`: a month's candidates with their weights and every model's forecasts. Writes nothing."""

from collections.abc import Iterator

import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets.cli.candidates import nobody, refuse_later
from quant_assets.cli.stored import made_otherwise
from quant_assets.errors import MissingPartitionError
from quant_assets.partitions import key
from quant_assets.profile import Profile

#: Assets that are named where they were computed by other settings.
_NAMED = 3


def output(profile: Profile, sector: str, month: str) -> Iterator[str | Table]:
    """What the command prints of a sector.

    Raises:
        MissingPartitionError: the month has not been run.
        SettingsError: the decision was taken later than the pinned last session.

    """
    candidates, weights = (
        profile.store.read(profile.datasets[name], [key(sector, month)]).collect() for name in ("candidates", "weights")
    )
    refuse_later(profile, candidates)
    if candidates.is_empty():
        yield f"{sector} {month}: {nobody(profile, sector, month)}"
        return
    joined = candidates.join(weights.select("ticker", "weight", "score", "score_source"), on="ticker", how="left")
    joined = joined.sort("candidate_type", "selection_rank")
    table = Table()
    forecast_name = f"{profile.settings.weights.horizon}-day forecast"
    others = _others(profile, sector, month, joined)
    shown = ("side", "rank", "ticker", "composite", "momentum", "slope", "low vol", "weight", forecast_name, *others)
    for name in shown:
        table.add_column(name, justify="left" if name in ("side", "ticker") else "right")
    for place, row in enumerate(joined.iter_rows(named=True)):
        forecast = row["score"] if row["score_source"] == "prediction" else None
        table.add_row(
            row["candidate_type"],
            str(row["selection_rank"]),
            escape(row["ticker"]),
            *(
                _number(row[name], "+.2f")
                for name in ("composite_score", "momentum_score", "ma_slope_score", "volatility_score")
            ),
            _number(row["weight"], ".1%"),
            _number(forecast, "+.2%"),
            *(_number(values[place], "+.2%") for values in others.values()),
        )
    yield f"{sector}, decided at the close of {candidates['as_of'][0]}"
    yield table
    yield from _old(profile, sector, month)


def _old(profile: Profile, sector: str, month: str) -> Iterator[str]:
    """What to say where the month was computed by other code or settings than there are now."""
    found = made_otherwise(profile, "weights", sector, month)
    if found:
        named = "; ".join(f"{name}: {why}" for name, why in list(found.items())[:_NAMED])
        more = f"; and {len(found) - _NAMED} more assets" if len(found) > _NAMED else ""
        yield (
            f"these are old ones, computed by other code or settings than there are now ({named}{more}); quant run "
            f"--profile {profile.settings.profile} --sector {sector} --to {month} --refresh computes them again"
        )


def _others(profile: Profile, sector: str, month: str, picked: pl.DataFrame) -> dict[str, list[float | None]]:
    """What the models that no weight follows forecast of the same names, by model; none where none was run."""
    weights = profile.settings.weights
    try:
        stored = profile.store.read(profile.datasets["predictions"], [key(sector, month)])
    except MissingPartitionError:
        return {}
    found = stored.filter(pl.col("horizon") == weights.horizon).collect()
    at = picked.select("ticker", pl.col("as_of").alias("date"))
    return {
        model: at.join(
            found.filter(pl.col("model") == model), on=["ticker", "date"], how="left", maintain_order="left"
        )["prediction"].to_list()
        for model in profile.models.learners
        if model != weights.model and model in set(found["model"])
    }


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
