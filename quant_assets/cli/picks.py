"""Body of `quant picks`: the candidates of a month with their weights and all forecasts. Writes nothing."""

from collections.abc import Iterable, Iterator

import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets.cli.candidates import nobody, refuse_later
from quant_assets.cli.stored import MadeOtherwise
from quant_assets.errors import MissingPartitionError
from quant_assets.partitions import key
from quant_assets.profile import Profile

#: Most outdated assets to name.
_NAMED = 3


def output(profile: Profile, sectors: Iterable[str], month: str) -> Iterator[str | Table]:
    """Lines and the table of each sector.

    Raises:
        MissingPartitionError: the month has not been run.
        SettingsError: the decision was taken after the pinned last session.

    """
    made_otherwise = MadeOtherwise(profile, "weights")
    for sector in sectors:
        yield from _of_sector(profile, sector, month, made_otherwise)


def _of_sector(profile: Profile, sector: str, month: str, made_otherwise: MadeOtherwise) -> Iterator[str | Table]:
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
    for position, row in enumerate(joined.iter_rows(named=True)):
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
            *(_number(values[position], "+.2%") for values in others.values()),
        )
    yield f"{sector}, decided at the close of {candidates['as_of'][0]}"
    yield table
    yield from _old(made_otherwise, sector, month)


def _old(made_otherwise: MadeOtherwise, sector: str, month: str) -> Iterator[str]:
    """A warning if the month was computed with other code or settings than the present ones."""
    name_of_profile = made_otherwise.profile.settings.profile
    reasons = made_otherwise.reasons(sector, month)
    if reasons:
        named = "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:_NAMED])
        more = f"; and {len(reasons) - _NAMED} more assets" if len(reasons) > _NAMED else ""
        yield (
            f"outdated, computed with other code or settings than the present ones ({named}{more}); quant run "
            f"--profile {name_of_profile} --sector {sector} --to {month} --refresh recomputes them"
        )


def _others(profile: Profile, sector: str, month: str, picked: pl.DataFrame) -> dict[str, list[float | None]]:
    """Forecasts of the models that the weights do not use, by model; empty without predictions."""
    weights = profile.settings.weights
    try:
        stored = profile.store.read(profile.datasets["predictions"], [key(sector, month)])
    except MissingPartitionError:
        return {}
    forecasts = stored.filter(pl.col("horizon") == weights.horizon).collect()
    at = picked.select("ticker", pl.col("as_of").alias("date"))
    return {
        model: at.join(
            forecasts.filter(pl.col("model") == model), on=["ticker", "date"], how="left", maintain_order="left"
        )["prediction"].to_list()
        for model in profile.models.learners
        if model != weights.model and model in set(forecasts["model"])
    }


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
