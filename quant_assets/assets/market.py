"""Raw data by sector and month: universe, coverage, bars, absences, refused bars, prices, statements, macro."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import numpy as np
import polars as pl

from quant_assets.assets.declare import ACROSS_SECTORS, common, dataset_asset, for_each_sector, run_partitions, tell
from quant_assets.features.ohlcv import peaks
from quant_assets.market import fundamentals as statements
from quant_assets.market import macro as observations
from quant_assets.market import universe as membership
from quant_assets.market.absences import absences
from quant_assets.market.adjustment import adjust
from quant_assets.market.bars import company_bars, sector_bars
from quant_assets.market.calendar import sessions
from quant_assets.market.delistings import with_returns
from quant_assets.market.placement import entries, of_tickers, place
from quant_assets.market.reconciliation import by_ticker
from quant_assets.partitions import RunPartitions, key, month_start
from quant_assets.profile import Profile
from quant_assets.schemas import DATASETS

GROUP = "market"
_BAR_OUTPUTS = ("ohlcv", "quarantine", "price_events", "price_disagreements", "price_peaks", "absences", "delistings")


def reconciled(compared: pl.DataFrame) -> dict[str, dg.MetadataValue]:
    """How far the providers agree: bars compared and disagreements in all, and by ticker, the worst forty."""
    tickers = by_ticker(compared)
    rows = [
        f"| {row['ticker']} | {row['provider']} | {row['other_provider']} | {row['compared']} | {row['disagreements']} "
        f"| {100.0 * row['worst']:+.2f} | {row['worst_date']} |"
        for row in tickers.head(40).iter_rows(named=True)
    ]
    head = [
        "| ticker | provider | other provider | bars | disagreements | worst, points | on |",
        "|---|---|---|---|---|---|---|",
    ]
    return {
        "bars_compared": dg.MetadataValue.int(len(compared)),
        "disagreements": dg.MetadataValue.int(int(tickers["disagreements"].sum())),
        "tickers": dg.MetadataValue.int(len(tickers)),
        "by_ticker": dg.MetadataValue.md("\n".join([*head, *rows]) if rows else "none"),
    }


def market_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the market group."""
    settings = profile.settings
    start = month_start(settings.partitions.start)

    @dataset_asset(profile, "universe", group=GROUP, kinds=["polars"])
    def universe(context: dg.AssetExecutionContext) -> pl.DataFrame:
        run = run_partitions(context)
        days = sessions(run.first_day, profile.through(run))
        members = profile.source.membership(profile.through(run))
        snapshots = profile.source.sector_snapshots(profile.through(run))
        result = for_each_sector(run, "universe", lambda sector: membership.members(members, snapshots, sector, days))
        tell(context, result, "date", lambda rows: {"members": rows["ticker"].n_unique()})
        for month in run.months:
            of_month = days[days.astype("datetime64[M]") == np.datetime64(month)]
            without = membership.unclassified(members, snapshots, of_month)["ticker"]
            shown = {
                "index_members_without_sector": len(without),
                "index_members_without_sector_list": dg.MetadataValue.md(", ".join(without) or "none"),
            }
            for sector in run.sectors:
                context.add_asset_metadata(shown, partition_key=key(sector, month))
        return result

    @dg.multi_asset(
        name="bars",
        group_name=GROUP,
        outs={name: dg.AssetOut(kinds={"polars", "parquet"}, **common(profile, name)) for name in _BAR_OUTPUTS},
        partitions_def=profile.months.by_sector,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def bars(context: dg.AssetExecutionContext) -> Iterator[dg.Output[pl.DataFrame]]:
        # The factors, peaks, last bars and last prices are carried from the first bar, so one reading of the history
        # feeds all of them.
        run = RunPartitions.from_keys(context.partition_keys)
        through = profile.through(run)
        days = sessions(start, through)
        snapshots = profile.source.sector_snapshots(through)
        members = profile.source.membership(through)
        asked = sessions(run.first_day, through)
        collected: dict[str, list[pl.DataFrame]] = {name: [DATASETS[name].empty()] for name in _BAR_OUTPUTS}
        refused: dict[str, dict[str, int]] = {}
        agreement: dict[str, dict[str, dg.MetadataValue]] = {}
        # The files are read once for all sectors of the run, which are several only where the months are few.
        panels = [membership.panel_tickers(snapshots, sector, through) for sector in run.sectors]
        every_ticker = sorted({ticker for tickers in panels for ticker in tickers})
        given, ended = (
            profile.source.bars(every_ticker, start, through),
            profile.source.delistings(every_ticker, through),
        )
        companies = company_bars(given, ended, days, settings.bars)
        decisions = profile.decision_sessions(run)

        def of_sector(sector: str, tickers: list[str]) -> dict[str, pl.DataFrame]:
            panel = sector_bars(companies, snapshots, sector, days)
            history, gone = panel.ohlcv, ended.filter(pl.col("ticker").is_in(tickers))
            own, expected = of_tickers(given, tickers), membership.members(members, snapshots, sector, asked)
            # Of a ticker that moved in after its end there is no delisting here: the run of the month itself would not
            # know it either.
            heard = place(gone, snapshots, sector, days, "known_at").filter(pl.col("panel_from") == pl.col("known_at"))
            heard = heard.filter(pl.col("known_at").is_between(run.first_day, run.last_day)).select(gone.columns)
            rows_of = {
                **panel._asdict(),
                "price_peaks": peaks(adjust(history), days, decisions),
                "absences": absences(
                    expected, history, own, panel.quarantine, gone, entries(snapshots, sector, days), decisions
                ),
                "delistings": with_returns(heard, history, settings.delistings),
            }
            compared = dated("price_disagreements", place(companies.compared, snapshots, sector, days, "date"))
            for month, part in compared.group_by(pl.col("panel_from").dt.strftime("%Y-%m")):
                agreement[key(sector, str(month[0]))] = reconciled(part)
            # Only what the run asks for leaves this function: all sectors' histories together would not fit into
            # memory.
            return {name: dated(name, rows).with_columns(sector=pl.lit(sector)) for name, rows in rows_of.items()}

        def dated(name: str, rows: pl.DataFrame) -> pl.DataFrame:
            return rows.filter(pl.col(DATASETS[name].dated_by).is_between(run.first_day, run.last_day))

        with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
            found_in = dict(zip(run.sectors, pool.map(of_sector, run.sectors, panels), strict=True))
        for sector, rows_of in found_in.items():
            for name, rows in rows_of.items():
                collected[name].append(rows.select(DATASETS[name].empty().columns))
            counted = rows_of["quarantine"].group_by(month=pl.col("date").dt.strftime("%Y-%m"), reason="reason").len()
            for month in run.months:
                found = counted.filter(pl.col("month") == month)
                refused[key(sector, month)] = dict(zip(found["reason"], found["len"], strict=True))
        for partition_key, reasons in refused.items():
            context.add_asset_metadata(
                {
                    "bars_refused": sum(reasons.values()),
                    **{f"refused_{reason}": count for reason, count in sorted(reasons.items())},
                },
                asset_key=dg.AssetKey("ohlcv"),
                partition_key=partition_key,
            )
        for partition_key, about in agreement.items():
            context.add_asset_metadata(about, asset_key=dg.AssetKey("price_disagreements"), partition_key=partition_key)
        for name in _BAR_OUTPUTS:
            yield dg.Output(pl.concat(collected[name]), output_name=name)

    @dataset_asset(profile, "universe_coverage", group=GROUP, kinds=["polars"])
    def universe_coverage(context: dg.AssetExecutionContext) -> pl.DataFrame:
        run = run_partitions(context)
        through, decisions = profile.through(run), profile.decision_sessions(run)
        members, snapshots, days = (
            profile.source.membership(through),
            profile.source.sector_snapshots(through),
            sessions(start, through),
        )
        counted = membership.coverage_sessions(days, decisions)
        held = profile.source.held(members["ticker"].unique().to_list(), counted)
        result = membership.coverage(members, snapshots, held, run.sectors, days, decisions)
        tell(context, result, "as_of", _coverage)
        return result

    @dataset_asset(profile, "prices", group=GROUP, kinds=["polars"])
    def prices(context: dg.AssetExecutionContext, ohlcv: pl.LazyFrame) -> pl.DataFrame:
        return for_each_sector(run_partitions(context), "prices", lambda sector, ohlcv: adjust(ohlcv), ohlcv=ohlcv)

    @dataset_asset(profile, "fundamentals", group=GROUP, kinds=["polars"])
    def fundamentals(context: dg.AssetExecutionContext) -> pl.DataFrame:
        run = run_partitions(context)
        through = profile.through(run)
        snapshots = profile.source.sector_snapshots(through)

        def of_sector(sector: str) -> pl.DataFrame:
            given = profile.source.statements(membership.panel_tickers(snapshots, sector, through), through)
            known = statements.as_known(given, snapshots, sector, settings.fundamentals, sessions(start, through))
            return known.filter(pl.col("panel_from").is_between(run.first_day, run.last_day))

        return for_each_sector(run, "fundamentals", of_sector)

    @dataset_asset(profile, "macro", group=ACROSS_SECTORS, kinds=["polars"])
    def macro(context: dg.AssetExecutionContext) -> pl.DataFrame:
        run = run_partitions(context)
        through = profile.through(run)
        known = observations.as_known(profile.source.macro(through), sessions(start, through))
        return known.filter(pl.col("known_at").is_between(run.first_day, run.last_day))

    return [universe, bars, universe_coverage, prices, fundamentals, macro]


def _coverage(rows: pl.DataFrame) -> dict[str, float | str | None]:
    """Of the last session, bars of any provider."""
    last = rows.filter((pl.col("date") == pl.col("as_of")) & (pl.col("provider") == "any"))
    found: dict[str, float | str | None] = {}
    for scope, members, with_sector, with_bar in last.select("scope", "members", "with_sector", "with_bar").iter_rows():
        found |= {
            f"{scope}_members": members,
            f"{scope}_members_with_sector": with_sector,
            f"{scope}_coverage": with_bar / members if members else None,
        }
    return found
