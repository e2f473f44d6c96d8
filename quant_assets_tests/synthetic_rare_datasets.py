"""The domain from the providers' answers to the report, wired as the assets wire it, over the markets of
`synthetic_rare`: of a range of months or of one, from rows that are stored."""

from collections.abc import Callable

import polars as pl

from quant_assets.assets import sql
from quant_assets.backtest.factor_summary import market_rows
from quant_assets.features.cross_section import market_breadth, market_features
from quant_assets.grains import MONTH
from quant_assets.partitions import month_of, months_covering
from quant_assets.portfolio import score_inputs
from quant_assets.portfolio.score_inputs import inputs, price_lookback
from quant_assets.portfolio.scores import scores
from quant_assets.reporting.report_data import ReportFrames
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.scoring import ScoreSettings
from quant_assets.signals.indicators import indicators, lookback_sessions
from quant_assets.signals.selection import selection
from quant_assets_tests.synthetic_rare import LAST, SECTORS, Rare
from quant_assets_tests.synthetic_rare_learning import FACTORS, LEARNING
from quant_assets_tests.synthetic_rare_market import market_datasets
from quant_assets_tests.synthetic_rare_portfolio import OF_ALL_WEIGHTS, OF_WEIGHTS
from quant_assets_tests.synthetic_rare_reads import (
    CANDIDATES,
    EVERY,
    FIRST_MONTH,
    INDICATORS,
    LIBRARY,
    STATEMENTS,
    WEIGHTS,
    Compute,
    Months,
    Reads,
    Stored,
)


def _indicators(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    before = months_covering(lookback_sessions(INDICATORS))
    made = indicators(
        read("prices", before),
        read("universe"),
        sector,
        INDICATORS,
        months.sessions(before),
        months.first_day,
        months.last_day,
    )
    return made.rows


def _candidates(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    return selection(read("indicators"), read("universe"), months.decisions, CANDIDATES).candidates


def _scores(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    before = months_covering(price_lookback(STATEMENTS))
    known = inputs(
        read("prices", before),
        read("fundamentals", STATEMENTS.lookback_months),
        read("universe", months_covering(score_inputs.LIBRARY.universe_lookback)),
        read("predictions"),
        STATEMENTS,
        months.sessions(before),
        months.decisions,
        months.first_day,
        months.last_day,
    )
    return scores(known, ScoreSettings(), sector)


#: By sector, in the order in which they read each other.
BY_SECTOR: dict[str, Compute] = {
    "indicators": _indicators,
    "candidates": _candidates,
    **LEARNING,
    "scores": _scores,
    **OF_WEIGHTS,
    **FACTORS,
}

#: Over all sectors.
BY_MONTH: dict[str, Callable[[Reads, Months], pl.DataFrame]] = {
    "market_features": lambda read, months: market_features(read("features"), LIBRARY.market),
    "market_breadth": lambda read, months: market_breadth(read("features"), LIBRARY.breadth),
    **OF_ALL_WEIGHTS,
    "market_tear_sheet": lambda read, months: market_rows(read("factor_tear_sheet")).with_columns(
        page_file=pl.lit("page")
    ),
}

#: Over all sectors in SQL; what a model reads is the same partitions.
BY_SQL = {model.name: model for model in sql.load_models(EVERY)}

_SETTINGS = {f"candidates.{name}": value for name, value in CANDIDATES.model_dump().items()}


def _by_sql(read: Reads, months: Months, name: str) -> pl.DataFrame:
    model = BY_SQL[name]
    frames = {each: read(each).with_columns(month=MONTH.label(EVERY[each].dated_by)) for each in model.reads}
    parameters = sql.parameter_values(model, _SETTINGS, months.decisions)
    return sql.execute(model, parameters, **frames).cast(dict(EVERY[name].empty().schema))


def computed(stored: Stored, months: Months, name: str) -> pl.DataFrame:
    """Rows of a dataset's partitions in these months, with `sector` at sector grain, from what is stored."""
    if name in BY_SQL:
        return _by_sql(Reads(stored, months, None), months, name)
    if name in BY_MONTH:
        return BY_MONTH[name](Reads(stored, months, None), months)
    parts = [
        BY_SECTOR[name](Reads(stored, months, sector), months, sector).with_columns(sector=pl.lit(sector))
        for sector in SECTORS
    ]
    return pl.concat(parts)


def report_frames(stored: Stored, sector: str) -> ReportFrames:
    """What a sector's report is made of."""
    read = Reads(stored, Months(FIRST_MONTH, "2020-12", LAST), sector)
    return ReportFrames(
        candidates=read("candidates"),
        weights=read("weights"),
        backtest=read("backtest"),
        predictions=read("predictions").filter(pl.col("horizon") == WEIGHTS.horizon),
        labels=read("labels").filter(pl.col("horizon") == WEIGHTS.horizon),
        regime_state=read("regime_state"),
        checkpoint=read(CHECKPOINTS.name),
        quarantine=read("quarantine"),
        absences=read("absences"),
        coverage=read("universe_coverage"),
        track_record=read("track_record"),
        price_events=read("price_events"),
        versions=read("predictions").select("date", "model", "model_version", "horizon").unique(),
    )


#: What is computed from other datasets, in the order in which they read each other.
DERIVED = (*BY_SECTOR, *BY_MONTH)


def everything(rare: Rare) -> tuple[Months, Stored]:
    """Every dataset, of all months in one run."""
    months = Months(FIRST_MONTH, month_of(rare.through), rare.through)
    stored = market_datasets(rare, months)
    for name in DERIVED:
        stored[name] = computed(stored, months, name)
    return months, stored
