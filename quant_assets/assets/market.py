"""Raw data by sector and month: universe, its coverage, bars, what is missing or refused, statements, macro, crypto."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import dagster as dg
import numpy as np
import polars as pl

from quant_assets.asset_functions import Run, Setting
from quant_assets.assets.declare import Asset, declared, read
from quant_assets.features.ohlcv import peaks
from quant_assets.grains import MONTH
from quant_assets.market import fundamentals as statements
from quant_assets.market import macro as observations
from quant_assets.market import universe as membership
from quant_assets.market.absences import absences
from quant_assets.market.adjustment import adjust
from quant_assets.market.bars import company_bars, sector_bars
from quant_assets.market.calendar import sessions
from quant_assets.market.crypto import at_sessions
from quant_assets.market.delistings import with_returns
from quant_assets.market.placement import entries, of_tickers, place
from quant_assets.market.reconciliation import by_ticker
from quant_assets.partitions import month_start
from quant_assets.profile import Profile
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import BarSettings, DelistingSettings, FundamentalSettings
from quant_assets.sources.base import Crypto, Macro, Source, Statements
from quant_assets.sources.registry import said_absent

_BAR_OUTPUTS = (
    "ohlcv",
    "quarantine",
    "price_events",
    "price_disagreements",
    "price_peaks",
    "absences",
    "delistings",
)

#: Tickers times sessions of a block of bars in memory.
BLOCK_CELLS = 2_500_000
#: Share of refused bars of a sector from which on the run's log has a warning.
_MANY_REFUSED = 0.1

#: First month of the profile, where series that are carried from a company's first bar begin.
Start = Annotated[str, Setting("partitions.start")]


def market_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the market group."""
    return declared(
        profile,
        "market",
        Asset("universe", universe),
        Asset(_BAR_OUTPUTS, bars, together="bars"),
        Asset("universe_coverage", universe_coverage),
        Asset("prices", prices, {"ohlcv": read()}, sized_by="ohlcv"),
        Asset("fundamentals", fundamentals),
        Asset("macro", macro),
        Asset("crypto", crypto),
    )


def universe(run: Run, source: Source) -> pl.DataFrame:
    """Members of each sector and session."""
    days = run.sessions()
    members, snapshots = source.membership(run.through), source.sector_snapshots(run.through)
    result = run.by_sector(lambda sector: membership.members(members, snapshots, sector, days))
    run.tell_rows(result, "date", lambda rows: {"members": rows["ticker"].n_unique()})
    run.tell_each(_without_sector(run, members, snapshots))
    run.tell_files(source, "membership", "securities")
    return result


def _without_sector(
    run: Run, members: pl.DataFrame, snapshots: pl.DataFrame
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Number of index members without a sector, by month."""
    days = run.sessions()
    for month in run.months:
        of_month = days[days.astype("datetime64[M]") == np.datetime64(month)]
        without = membership.unclassified(members, snapshots, of_month)["ticker"]
        shown = {
            "index_members_without_sector": len(without),
            "index_members_without_sector_list": dg.MetadataValue.md(", ".join(without) or "none"),
        }
        yield from ((sector, month, shown) for sector in run.sectors)


def bars(
    run: Run, source: Source, rules: BarSettings, delisting: DelistingSettings, start: Start
) -> dict[str, pl.DataFrame]:
    """Check, repair and join the bars of all providers, and compute the datasets that depend only on them."""
    # Factors, peaks, last bars and last prices are carried from the first bar: one reading of the history feeds all.
    first, through, asked = month_start(start), run.through, run.sessions()
    days, decisions = sessions(first, through), run.decisions
    snapshots, members = source.sector_snapshots(through), source.membership(through)
    # A company is read once for all sectors of the run, which are several only where the months are few.
    panels = [membership.panel_tickers(snapshots, sector, through) for sector in run.sectors]
    every_ticker = sorted({ticker for tickers in panels for ticker in tickers})
    ended = source.delistings(every_ticker, through)

    def dated(name: str, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.filter(pl.col(DATASETS[name].dated_by).is_between(run.first_day, run.last_day))

    def of_tickers_in(block: Sequence[str]) -> list[dict[str, pl.DataFrame]]:
        given = source.bars(block, first, through)
        companies = company_bars(given, ended, days, rules)
        compared = companies.compared.filter(pl.col("date").is_between(run.first_day, run.last_day))

        def of_sector(sector: str, tickers: Sequence[str]) -> dict[str, pl.DataFrame]:
            own = sorted(set(tickers).intersection(block))
            panel = sector_bars(companies, snapshots, sector, days)
            history, gone = panel.ohlcv, ended.filter(pl.col("ticker").is_in(own))
            # No delisting of a ticker that moved in after its end: the run of the month itself would not know it.
            heard = place(gone, snapshots, sector, days, "known_at").filter(pl.col("panel_from") == pl.col("known_at"))
            heard = heard.filter(pl.col("known_at").is_between(run.first_day, run.last_day)).select(gone.columns)
            rows_of = {
                **panel._asdict(),
                "price_peaks": peaks(adjust(history), days, decisions),
                "delistings": with_returns(heard, history, delisting),
            }
            # A bar that a ticker brought along with a move was compared in its old sector.
            agreement = place(compared, snapshots, sector, days, "date")
            # Return only rows of the run, and the inputs of `absences`: whole histories would not fit into memory.
            return {name: dated(name, rows).with_columns(sector=pl.lit(sector)) for name, rows in rows_of.items()} | {
                "_compared": agreement.filter(pl.col("panel_from") == pl.col("date")),
                "_series": history.select("ticker", "date"),
                "_given": of_tickers(given, own).select("ticker", "date", "provider"),
                "_refused": panel.quarantine.select("ticker", "date"),
            }

        with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
            return list(pool.map(of_sector, run.sectors, panels))

    size = max(1, BLOCK_CELLS // max(1, len(days)))
    parts = [of_tickers_in(every_ticker[at : at + size]) for at in range(0, max(1, len(every_ticker)), size)]
    found = []
    for sector, tickers, *blocks in zip(run.sectors, panels, *parts, strict=True):
        rows_of = {name: pl.concat([each.pop(name) for each in blocks]) for name in list(blocks[0])}
        series, given, out = (rows_of.pop(name) for name in ("_series", "_given", "_refused"))
        gone, moved_in = ended.filter(pl.col("ticker").is_in(tickers)), entries(snapshots, sector, days)
        expected = membership.members(members, snapshots, sector, asked)
        absent = absences(expected, series, given, out, gone, moved_in, decisions)
        rows_of["absences"] = dated("absences", absent).with_columns(sector=pl.lit(sector))
        found.append(rows_of)
    for sector, rows_of in zip(run.sectors, found, strict=True):
        run.tell_each(refused(run, sector, rows_of["quarantine"]), asset="ohlcv")
        run.tell_each(marked(run, sector, rows_of["ohlcv"]), asset="ohlcv")
        warn_of_refused(run, sector, rows_of["quarantine"], rows_of["ohlcv"])
        run.tell_each(agreed(sector, rows_of["_compared"]), asset="price_disagreements")
    run.tell_files(source, "prices", asset="ohlcv")
    columns = {name: DATASETS[name].empty() for name in _BAR_OUTPUTS}
    return {
        name: pl.concat([empty, *(rows_of.pop(name).select(empty.columns) for rows_of in found)])
        for name, empty in columns.items()
    }


def agreed(sector: str, compared: pl.DataFrame) -> Iterator[tuple[str, str, dict[str, dg.MetadataValue]]]:
    """Agreement of the providers, by month with compared bars."""
    for (month, *_), part in compared.group_by(MONTH.label("date")):
        yield sector, str(month), reconciled(part)


def reconciled(compared: pl.DataFrame) -> dict[str, dg.MetadataValue]:
    """Agreement of the providers: compared bars and disagreements, in total and for the worst forty tickers."""
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


def refused(run: Run, sector: str, quarantine: pl.DataFrame) -> list[tuple[str, str, dict[str, int]]]:
    """Number of refused bars by month and reason."""
    counted = quarantine.group_by(month=MONTH.label("known_at"), reason="reason").len()
    counts = []
    for month in run.months:
        rows = counted.filter(pl.col("month") == month).sort("reason")
        reasons = {f"refused_{reason}": count for reason, count in rows.select("reason", "len").iter_rows()}
        counts.append((sector, month, {"bars_refused": sum(reasons.values()), **reasons}))
    return counts


def warn_of_refused(run: Run, sector: str, quarantine: pl.DataFrame, ohlcv: pl.DataFrame) -> None:
    """Warn in the log if many bars were refused: whole files may share a fault."""
    if len(quarantine) > _MANY_REFUSED * (len(quarantine) + len(ohlcv)):
        reasons = quarantine["reason"].value_counts(sort=True).iter_rows()
        run.tell_log(
            f"{sector}: {len(quarantine)} bars refused, {len(ohlcv)} used: "
            f"{', '.join(f'{count} {reason}' for reason, count in reasons)}; dataset quarantine has each of them",
            warning=True,
        )


def marked(run: Run, sector: str, ohlcv: pl.DataFrame) -> list[tuple[str, str, dict[str, int]]]:
    """Number of used bars without an open, and of bars with an unexplained move, by month.

    Bars that a ticker brings along with a later move are counted in its old sector: a month's figures do not change.
    """
    own = ohlcv.filter(pl.col("panel_from") == pl.col("date"))
    counted = own.group_by(month=MONTH.label("date")).agg(
        bars_without_open=pl.col("open").null_count(), bars_unexplained=pl.col("unexplained").sum()
    )
    counts = {month: (without, unexplained) for month, without, unexplained in counted.iter_rows()}
    names = ("bars_without_open", "bars_unexplained")
    return [(sector, month, dict(zip(names, counts.get(month, (0, 0)), strict=True))) for month in run.months]


def universe_coverage(run: Run, source: Source, start: Start) -> pl.DataFrame:
    """Coverage of the universe by bars, by provider."""
    members, snapshots = source.membership(run.through), source.sector_snapshots(run.through)
    days = sessions(month_start(start), run.through)
    counted = membership.coverage_sessions(days, run.decisions)
    held = source.held(members["ticker"].unique().to_list(), counted)
    result = membership.coverage(members, snapshots, held, run.sectors, days, run.decisions)
    run.tell_rows(result, "as_of", covered)
    return result


def covered(rows: pl.DataFrame) -> dict[str, float | str | None]:
    """Coverage at the last session by bars of any provider."""
    last = rows.filter((pl.col("date") == pl.col("as_of")) & (pl.col("provider") == "any"))
    figures: dict[str, float | str | None] = {}
    for scope, members, with_sector, with_bar in last.select("scope", "members", "with_sector", "with_bar").iter_rows():
        figures |= {
            f"{scope}_members": members,
            f"{scope}_members_with_sector": with_sector,
            f"{scope}_coverage": with_bar / members if members else None,
        }
    return figures


def prices(sector: str, ohlcv: pl.DataFrame) -> pl.DataFrame:
    """Adjusted prices, anchored at the first bar."""
    return adjust(ohlcv)


def fundamentals(run: Run, source: Source, settings: FundamentalSettings, start: Start) -> pl.DataFrame:
    """Statements as they became known."""
    snapshots = source.sector_snapshots(run.through)
    days = sessions(month_start(start), run.through)

    def of_sector(sector: str) -> pl.DataFrame:
        given = source.statements(membership.panel_tickers(snapshots, sector, run.through), run.through)
        known = statements.as_known(given, snapshots, sector, settings, days)
        return known.filter(pl.col("panel_from").is_between(run.first_day, run.last_day))

    result = run.by_sector(of_sector)
    run.tell_run(said_absent(source, Statements))
    run.tell_files(source, "fundamentals", "rates")
    return result


def macro(run: Run, source: Source, start: Start) -> pl.DataFrame:
    """Macro observations as they became known."""
    known = observations.as_known(source.macro(run.through), sessions(month_start(start), run.through))
    run.tell_run(said_absent(source, Macro))
    run.tell_files(source, "macro")
    return known.filter(pl.col("known_at").is_between(run.first_day, run.last_day))


def crypto(run: Run, source: Source) -> pl.DataFrame:
    """Crypto-currencies at the sessions' closes."""
    closes = at_sessions(source.crypto(run.through), run.sessions())
    run.tell_run(said_absent(source, Crypto))
    run.tell_files(source, "crypto")
    return closes.rename({"value": "close"})
