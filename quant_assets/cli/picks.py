"""Body of `quant picks`: the candidates of a month with their weights and all forecasts. Writes nothing."""

from collections.abc import Iterable, Iterator

import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets.cli.candidates import SCORES, nobody, refuse_later
from quant_assets.cli.screen import Empty, merged
from quant_assets.cli.stored import OutdatedUpstream
from quant_assets.errors import MissingPartitionError, QuantError
from quant_assets.partitions import key, parse_key
from quant_assets.profile import Profile


def output(profile: Profile, sectors: Iterable[str], month: str) -> Iterator[str | Table]:
    """Lines and the table of each sector.

    Raises:
        MissingPartitionError: the month has not been run.
        SettingsError: the decision was taken after the pinned last session.

    """
    outdated = OutdatedUpstream(profile, "weights")
    explained = False
    for part in merged(each for sector in sectors for each in _of_sector(profile, sector, month, outdated)):
        yield part
        if isinstance(part, Table) and not explained:  # once is enough for all sectors
            yield from _headings(profile)
            explained = True


def _of_sector(profile: Profile, sector: str, month: str, outdated: OutdatedUpstream) -> Iterator[str | Table | Empty]:
    candidates, weights = (
        profile.store.read(profile.datasets[name], [key(sector, month)]).collect() for name in ("candidates", "weights")
    )
    refuse_later(profile, candidates)
    if candidates.is_empty():
        yield Empty(sector, month, nobody(profile, sector, month))
        return
    joined = candidates.join(weights.select("ticker", "weight", "score", "score_source"), on="ticker", how="left")
    joined = joined.sort("candidate_type", "selection_rank")
    names = _names(profile, joined)
    forecasts, earlier = _forecasts(profile, sector, month, joined)
    unknown = _without_volatility(profile, sector, month, joined)
    table = Table()
    for name in (
        "side",
        "rank",
        "ticker",
        *(["company"] if any(names) else []),
        *map(_folded, SCORES.values()),
        "weight",
    ):
        table.add_column(name, justify="left" if name in ("side", "ticker", "company") else "right")
    for model in forecasts:
        table.add_column(f"{profile.settings.weights.horizon}-day\n{model}", justify="right")
    for position, row in enumerate(joined.iter_rows(named=True)):
        table.add_row(
            row["candidate_type"],
            str(row["selection_rank"]),
            escape(row["ticker"]),
            *([escape(names[position])] if any(names) else []),
            *(
                "" if name == "volatility_score" and row["ticker"] in unknown else _number(row[name], "+.2f")
                for name in SCORES
            ),
            _number(row["weight"], ".1%"),
            *(_number(values[position], "+.2%") for values in forecasts.values()),
        )
    yield f"{sector}, decided at the close of {candidates['as_of'][0]}"
    yield table
    yield from _missing(profile, joined)
    if unknown:
        least = profile.settings.indicators.garch.min_observations
        yield (
            f"no low vol of {escape(', '.join(unknown))}: a GARCH volatility needs {least} returns "
            "(indicators.garch.min_observations); without one it counts as 0, the sector's mean"
        )
    yield from _moved(profile, sector, month, joined)
    if earlier:
        yield (
            f"{escape(', '.join(earlier))}: weight and forecast are of earlier predictions than those stored now; "
            f"quant run -p {profile.settings.profile} -s {sector} --from {month} --to {month} --select weights "
            "decides again"
        )
    if said := outdated.warning(sector, month):
        yield said


def _names(profile: Profile, picked: pl.DataFrame) -> list[str]:
    """The first name of each company that the settings have and that it bore at the decision; empty without one."""
    known = profile.settings.sentiment.names
    return [
        next((name.name for name in known.get(ticker, ()) if name.since <= day <= name.until), "")
        for ticker, day in picked.select("ticker", "as_of").iter_rows()
    ]


def _without_volatility(profile: Profile, sector: str, month: str, picked: pl.DataFrame) -> list[str]:
    """Tickers without a GARCH volatility at the decision: their stored score of 0 is no figure."""
    try:
        stored = profile.store.read(profile.datasets["indicators"], [key(sector, month)])
    except MissingPartitionError:
        return []
    unknown = stored.filter(pl.col("garch_volatility").is_null()).select("ticker", as_of="date").collect()
    return sorted(picked.join(unknown, on=["ticker", "as_of"], how="semi")["ticker"])


def _forecasts(
    profile: Profile, sector: str, month: str, picked: pl.DataFrame
) -> tuple[dict[str, list[float | None]], list[str]]:
    """Forecasts over `weights.horizon`, by model; first the model that weights follow.

    A name with a weight has the forecast that the weights used; others have that of dataset predictions.

    Returns:
        The forecasts of each model, and the tickers whose weight used another one than is stored now.

    """
    followed, horizon = str(profile.settings.weights.model), profile.settings.weights.horizon
    used = [
        score if source == "prediction" else None
        for score, source in picked.select("score", "score_source").iter_rows()
    ]
    others = [model for model in profile.models.learners if model != followed]
    try:
        stored = profile.store.read(profile.datasets["predictions"], [key(sector, month)])
    except MissingPartitionError:
        return {followed: used}, []
    forecasts = stored.filter(pl.col("horizon") == horizon).collect()
    at = picked.select("ticker", pl.col("as_of").alias("date"))
    found = {
        model: at.join(
            forecasts.filter(pl.col("model") == model), on=["ticker", "date"], how="left", maintain_order="left"
        )["prediction"].to_list()
        for model in (followed, *others)
        if model == followed or model in set(forecasts["model"])
    }
    held = picked["weight"].is_not_null().to_list()
    rows = list(zip(picked["ticker"], held, used, found[followed], strict=True))
    earlier = [ticker for ticker, holds, mine, now in rows if holds and mine is not None and mine != now]
    return {**found, followed: [mine if holds else now for _, holds, mine, now in rows]}, earlier


def _folded(heading: str) -> str:
    return heading.replace(" ", "\n")


def _headings(profile: Profile) -> Iterator[str]:
    """What the columns are, and with it who is on the list and who is held."""
    settings, weights = profile.settings.candidates, profile.settings.weights
    _, *parts = SCORES.values()
    of_parts = (settings.momentum_weight, settings.moving_average_weight, settings.volatility_weight)
    added = " + ".join(f"{weight:g} {part}" for weight, part in zip(of_parts, parts, strict=True))
    yield (
        f"selection score: {added}, in standard deviations of the sector; longs are the highest "
        f"{settings.long_fraction:.0%} of the eligible names, shorts the lowest {settings.short_fraction:.0%}; "
        "quant candidates shows who is eligible"
    )
    yield (
        f"{weights.horizon}-day: forecast return over {weights.horizon} sessions; those of {weights.model} "
        f"(weights.model) choose the best {weights.top_n} of a side (weights.top_n), other models are for comparison; "
        f"with {weights.top_n} names or fewer all are held, whatever the forecasts"
    )


def _missing(profile: Profile, picked: pl.DataFrame) -> Iterator[str]:
    """Why a weight or a forecast is missing."""
    weights = profile.settings.weights
    if "composite_score" in set(picked["score_source"]):
        yield f"no forecast of {weights.model} at this close: the weights follow the selection score"
    without = set(picked.filter(pl.col("weight").is_null())["candidate_type"])
    if "short" in without and weights.book == "long_only":
        yield "no weight of shorts: book long_only (weights.book) holds none, they are names to avoid"
        without.remove("short")
    if without:
        sides = " or ".join(sorted(without))
        yield f"no weight of a {sides}: not among the best weights.top_n ({weights.top_n}) of its side"


def _moved(profile: Profile, sector: str, month: str, picked: pl.DataFrame) -> Iterator[str]:
    """A line for each name that came from another sector, whose ticker may look out of place."""
    universe, store = profile.datasets["universe"], profile.store
    keys = [each for each in store.existing(universe) if parse_key(each)[0] == sector and parse_key(each)[1] <= month]
    if not keys:
        return
    firsts = store.read(universe, sorted(keys)).group_by("ticker").agg(pl.col("date").min()).sort("ticker").collect()
    came = firsts.filter(pl.col("date") > firsts["date"].min(), pl.col("ticker").is_in(picked["ticker"].implode()))
    if came.is_empty():  # the provider's files need not be read
        return
    try:
        snapshots = profile.source.sector_snapshots(picked["as_of"][0]).sort("known_at")
    except QuantError:  # a storage can be shown without the provider's data
        return
    for ticker in came["ticker"]:
        own = snapshots.filter(ticker=ticker).with_columns(before=pl.col("sector").shift())
        move = own.filter(pl.col("sector") == sector, pl.col("before") != sector).tail(1)
        for since, before in move.select("known_at", "before").iter_rows():
            yield f"{escape(ticker)}: in sector {sector} since {since}, in {before} before"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
