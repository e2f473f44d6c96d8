"""What factors were worth: statistics by sector and month, and tear sheets over years with a page each.

The market's are by month.
"""

import base64
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.assets.declare import (
    ACROSS_SECTORS,
    PICTURED_MONTHS,
    dataset_asset,
    for_each_sector,
    newest_keys,
    panel_sessions,
    read,
    readable,
    run_partitions,
)
from quant_assets.backtest.factor_summary import market_rows, summaries
from quant_assets.backtest.factors import SCORES, complete_after
from quant_assets.backtest.factors import factor_statistics as compute_statistics
from quant_assets.partitions import all_sectors, key, lookback, month_of, months_covering
from quant_assets.profile import Profile
from quant_assets.reporting.tear_sheet import render, render_market, strongest
from quant_assets.schemas import DATASETS
from quant_assets.settings.sectors import SECTORS

GROUP = "research"


def research_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the research group."""
    settings = profile.settings
    horizon, entry_lag = settings.weights.horizon, settings.labels.entry_lag
    months = months_covering(complete_after(max(settings.labels.horizons), entry_lag))
    market = "Simulated market" if settings.source == "demo" else None
    scored = DATASETS["candidates"].columns
    meanings = {feature.name: feature.meaning for feature in profile.features.features} | {
        name: scored[name].meaning for name in SCORES
    }
    # Scores and forecasts of the months before are judged as far as they exist: no run is made for their sake.
    required, optional = read(lookback(months)), read(lookback(months), absent="before")

    @dataset_asset(
        profile,
        "factor_statistics",
        group=GROUP,
        kinds=["numba"],
        ins={"features": required, "labels": required, "indicators": optional, "predictions": optional},
    )
    def factor_statistics(
        context: dg.AssetExecutionContext,
        features: pl.LazyFrame,
        labels: pl.LazyFrame,
        indicators: pl.LazyFrame,
        predictions: pl.LazyFrame,
    ) -> pl.DataFrame:
        run = run_partitions(context)
        days = panel_sessions(profile, run, months)

        def of_sector(
            sector: str,
            features: pl.DataFrame,
            labels: pl.DataFrame,
            indicators: pl.DataFrame,
            predictions: pl.DataFrame,
        ) -> pl.DataFrame:
            return compute_statistics(
                features,
                profile.features.names,
                indicators,
                predictions,
                labels,
                days,
                run.first_day,
                profile.decision_sessions(run),
                settings.labels,
                settings.candidates,
                settings.factors.min_names,
            )

        return for_each_sector(
            run,
            "factor_statistics",
            of_sector,
            features=features,
            labels=labels,
            indicators=indicators,
            predictions=predictions,
        )

    @dataset_asset(
        profile,
        "factor_tear_sheet",
        group=GROUP,
        kinds=["html"],
        ins={"factor_statistics": read(lookback(settings.factors.history_months - 1), absent="before")},
    )
    def factor_tear_sheet(context: dg.AssetExecutionContext, factor_statistics: pl.LazyFrame) -> pl.DataFrame:
        run = run_partitions(context)
        pictured = set(newest_keys(run, PICTURED_MONTHS))

        def of_sector(sector: str, factor_statistics: pl.DataFrame) -> pl.DataFrame:
            parts = [pl.DataFrame(schema=DATASETS["factor_tear_sheet"].schema)]
            sheets = summaries(factor_statistics, profile.decision_sessions(run), settings.factors.history_months)
            for sheet in sheets:
                name = f"factor_tear_sheet/{sector}/{month_of(sheet.as_of)}/factors.html"
                profile.store.write_artifact(
                    name, render(sheet, SECTORS[sector].name, horizon, entry_lag, meanings, market)
                )
                parts.append(sheet.rows.with_columns(page_file=pl.lit(name)))
                each = key(sector, month_of(sheet.as_of))
                told: dict[str, Any] = {"page": profile.store.artifact_url(name)}
                best = strongest(sheet.rows, horizon)
                if len(best):
                    told |= readable({f"strongest_{column}": best[column][0] for column in ("ic", "ic_t", "months")})
                    if each in pictured:
                        title = f"{SECTORS[sector].name}, {month_of(sheet.as_of)}"
                        told["strongest_factors"] = dg.MetadataValue.md(_table(best, title))
                context.add_asset_metadata(told, partition_key=each)
            return pl.concat(parts)

        return for_each_sector(run, "factor_tear_sheet", of_sector, factor_statistics=factor_statistics)

    @dataset_asset(
        profile,
        "market_tear_sheet",
        group=ACROSS_SECTORS,
        kinds=["html"],
        ins={"factor_tear_sheet": read(all_sectors(), absent="skip")},
    )
    def market_tear_sheet(context: dg.AssetExecutionContext, factor_tear_sheet: pl.LazyFrame) -> pl.DataFrame:
        sheets = factor_tear_sheet.collect()
        rows = market_rows(sheets)
        parts = [pl.DataFrame(schema=DATASETS["market_tear_sheet"].schema)]
        for as_of in profile.decision_sessions(run_partitions(context)):
            name = f"market_tear_sheet/{month_of(as_of)}/factors.html"
            of_day = pl.col("as_of") == as_of
            profile.store.write_artifact(
                name, render_market(as_of, rows.filter(of_day), sheets.filter(of_day), horizon, market)
            )
            context.add_asset_metadata({"page": profile.store.artifact_url(name)}, partition_key=month_of(as_of))
            parts.append(rows.filter(of_day).with_columns(page_file=pl.lit(name)))
        return pl.concat(parts)

    return [factor_statistics, factor_tear_sheet, market_tear_sheet]


def _table(best: pl.DataFrame, title: str) -> str:
    """Picture and table of a tear sheet's strongest factors as Markdown."""
    from quant_assets.reporting.tear_sheet_plot import strongest_png  # matplotlib is loaded by those who draw only

    picture = base64.b64encode(strongest_png(best, title)).decode()
    lines = ["| factor | IC | t | months |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {ic:+.3f} | {t:+.1f} | {n} |"
        for name, ic, t, n in best.select("factor", "ic", "ic_t", "months").rows()
    ]
    return f"![IC of the strongest factors](data:image/png;base64,{picture})\n\n" + "\n".join(lines)
