"""What factors were worth: statistics by sector and month, tear sheets over years with a page each, the market's."""

import base64
from collections.abc import Iterator
from typing import Annotated, Any

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run, Setting, readable
from quant_assets.assets.declare import PICTURED_MONTHS, Asset, declared, newest_keys, read
from quant_assets.backtest.factor_summary import Summary, market_rows, summaries
from quant_assets.backtest.factors import SCORES, complete_after
from quant_assets.backtest.factors import factor_statistics as compute_statistics
from quant_assets.features.library import FeatureLibrary
from quant_assets.partitions import all_sectors, key, lookback, month_of, months_covering
from quant_assets.profile import Profile
from quant_assets.reporting.tear_sheet import render, render_market, strongest
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import CandidateSettings, LabelSettings
from quant_assets.settings.sectors import SECTORS

Horizon = Annotated[int, Setting("weights.horizon")]
Provider = Annotated[str, Setting("source")]


def research_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the research group."""
    settings = profile.settings
    months = months_covering(complete_after(max(settings.labels.horizons), settings.labels.entry_lag))
    # Scores and forecasts of the months before are judged as far as they exist: no run is made for their sake.
    required, optional = read(lookback(months)), read(lookback(months), absent="before")
    judged = {"features": required, "labels": required, "indicators": optional, "predictions": optional}
    years = read(lookback(settings.factors.history_months - 1), absent="before")
    sheets = read(all_sectors(), absent="skip")
    return declared(
        profile,
        "research",
        Asset("factor_statistics", factor_statistics, judged, kinds=["numba"], sized_by="features"),
        Asset("factor_tear_sheet", factor_tear_sheet, {"factor_statistics": years}, kinds=["html"]),
        Asset("market_tear_sheet", market_tear_sheet, {"factor_tear_sheet": sheets}, kinds=["html"]),
    )


def factor_statistics(
    run: Run,
    sector: str,
    library: FeatureLibrary,
    labelling: LabelSettings,
    selecting: CandidateSettings,
    min_names: Annotated[int, Setting("factors.min_names")],
    features: pl.DataFrame,
    labels: pl.DataFrame,
    indicators: pl.DataFrame,
    predictions: pl.DataFrame,
) -> pl.DataFrame:
    """What each factor was worth in each month."""
    return compute_statistics(
        features,
        library.names,
        indicators,
        predictions,
        labels,
        run.sessions("features"),
        run.first_day,
        run.decisions,
        labelling,
        selecting,
        min_names,
    )


def factor_tear_sheet(
    run: Run,
    sector: str,
    months: Annotated[int, Setting("factors.history_months")],
    horizon: Horizon,
    entry_lag: Annotated[int, Setting("labels.entry_lag")],
    source: Provider,
    library: FeatureLibrary,
    factor_statistics: pl.DataFrame,
) -> pl.DataFrame:
    """What each factor was worth over the months up to each decision, with a page."""
    parts = [pl.DataFrame(schema=DATASETS["factor_tear_sheet"].schema)]
    scored = DATASETS["candidates"].columns
    meanings = {feature.name: feature.meaning for feature in library.features}
    meanings |= {name: scored[name].meaning for name in SCORES}
    sheets = summaries(factor_statistics, run.decisions, months)
    for sheet in sheets:
        name = _page(sector, month_of(sheet.as_of))
        page = render(sheet, SECTORS[sector].name, horizon, entry_lag, meanings, _market(source))
        run.store.write_artifact(name, page)
        run.tell_page(sector, month_of(sheet.as_of), name)
        parts.append(sheet.rows.with_columns(page_file=pl.lit(name)))
    run.tell_each(_shown(run, sector, sheets, horizon))
    return pl.concat(parts)


def _page(sector: str, month: str) -> str:
    return f"factor_tear_sheet/{sector}/{month}/factors.html"


def _market(source: str) -> str | None:
    return "Simulated market" if source == "demo" else None


def _shown(run: Run, sector: str, sheets: list[Summary], horizon: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Strongest factor of each partition, with a picture and a table of the newest ones."""
    pictured = set(newest_keys(run.partitions, PICTURED_MONTHS))
    for sheet in sheets:
        month = month_of(sheet.as_of)
        told: dict[str, Any] = {}
        best = strongest(sheet.rows, horizon)
        if len(best):
            told |= readable({f"strongest_{column}": best[column][0] for column in ("ic", "ic_t", "months")})
            if key(sector, month) in pictured:
                told["strongest_factors"] = dg.MetadataValue.md(_table(best, f"{SECTORS[sector].name}, {month}"))
        yield sector, month, told


def _table(best: pl.DataFrame, title: str) -> str:
    """Picture and table of a tear sheet's strongest factors as Markdown."""
    from quant_assets.reporting.tear_sheet_plot import strongest_png  # matplotlib is loaded by those who draw only

    picture = base64.b64encode(strongest_png(best, title)).decode()
    lines = ["| factor | IC | t | months |", "|---|---|---|---|"]
    shown = best.select("factor", "ic", "ic_t", "months").rows()
    lines += [f"| {name} | {ic:+.3f} | {t:+.1f} | {months} |" for name, ic, t, months in shown]
    return f"![IC of the strongest factors](data:image/png;base64,{picture})\n\n" + "\n".join(lines)


def market_tear_sheet(run: Run, horizon: Horizon, source: Provider, factor_tear_sheet: pl.DataFrame) -> pl.DataFrame:
    """The tear sheets of all sectors that are there, as one."""
    rows = market_rows(factor_tear_sheet)
    parts = [pl.DataFrame(schema=DATASETS["market_tear_sheet"].schema)]
    for as_of in run.decisions:
        name, of_day = f"market_tear_sheet/{month_of(as_of)}/factors.html", pl.col("as_of") == as_of
        page = render_market(as_of, rows.filter(of_day), factor_tear_sheet.filter(of_day), horizon, _market(source))
        run.store.write_artifact(name, page)
        run.tell_page(None, month_of(as_of), name)
        parts.append(rows.filter(of_day).with_columns(page_file=pl.lit(name)))
    return pl.concat(parts)
