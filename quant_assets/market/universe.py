"""Index members by session, and their sectors as known at the time."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.placement import panel_tickers, sector_on
from quant_assets.schemas import DATASETS

__all__ = ["coverage", "coverage_sessions", "listed", "members", "most_liquid", "panel_tickers", "unclassified"]


def members(
    membership: pl.DataFrame, snapshots: pl.DataFrame, sector: str, sessions: NDArray[np.datetime64]
) -> pl.DataFrame:
    """Index members of a sector on each session (dataset `universe`).

    Args:
        membership: `ticker`, `start_date`, `end_date` (both included, null while a member).
        snapshots: `ticker`, `sector`, `known_at`; the newest not after the date counts, the first also before its date.
        sector: slug.
        sessions: datetime64[D] of shape (n_sessions,).

    Returns:
        `ticker`, `date`, `sector_assumed` (true before the ticker's first snapshot), sorted by ticker and date.

    """
    ever = snapshots.filter(pl.col("sector") == sector)["ticker"]
    days = _days(membership.filter(pl.col("ticker").is_in(ever.implode())), sessions)
    rows = sector_on(days, snapshots, sessions).filter(pl.col("sector") == sector)
    return rows.select("ticker", "date", sector_assumed=pl.col("date") < pl.col("assumed_until"))


def unclassified(membership: pl.DataFrame, snapshots: pl.DataFrame, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """Index members on these sessions without any sector snapshot; they are missing from every sector's universe.

    Returns:
        `ticker`, `first_date`, `last_date` (sessions, over all intervals of the ticker), sorted by ticker.

    """
    without = membership.filter(~pl.col("ticker").is_in(snapshots["ticker"].implode()))
    dates = (
        _days(without, sessions).group_by("ticker").agg(first_date=pl.col("date").min(), last_date=pl.col("date").max())
    )
    return dates.sort("ticker")


def listed(held: pl.DataFrame, delistings: pl.DataFrame, begins: pl.DataFrame) -> pl.DataFrame:
    """Membership of every ticker with prices: from its first bar until its delisting is known.

    Args:
        held: `ticker`, `date` of every bar, in any order.
        delistings: `sources.base.DELISTINGS` of the tickers.
        begins: `ticker`, `since` (day of the rename) of symbols that carry their company's earlier history.

    Returns:
        `ticker`, `start_date`, `end_date` (both included, null while it trades), sorted by ticker and start.

    """
    # A delisting that was taken back has two rows: it was known from the first of the two days on.
    ends = delistings.group_by("ticker", last="last_session").agg(known=pl.col("known_at").min()).sort("ticker", "last")
    spells = (
        held.unique()
        .sort("ticker", "date")
        .join_asof(
            ends, left_on="date", right_on="last", by="ticker", allow_exact_matches=False, check_sortedness=False
        )
        .group_by("ticker", before="last")
        .agg(first=pl.col("date").min())
        .sort("ticker", "first")
        .join_asof(ends, left_on="first", right_on="last", by="ticker", strategy="forward", check_sortedness=False)
        .join(begins, on="ticker", how="left")
    )
    return (
        spells.select(
            "ticker", start_date=pl.max_horizontal("first", "since"), end_date=pl.col("known").dt.offset_by("-1d")
        )
        .filter(pl.col("end_date").is_null() | (pl.col("end_date") >= pl.col("start_date")))
        .sort("ticker", "start_date")
    )


def most_liquid(
    bars: pl.DataFrame, listed: pl.DataFrame, count: int, window: int, sessions: NDArray[np.datetime64]
) -> pl.DataFrame:
    """Membership of the tickers with the largest median dollar volume, chosen again at the close of each month.

    A ticker chosen at a month's last session is a member on the next month's days on which it is `listed`. The median
    covers the last `window` sessions, of which the ticker must have half; ties go to the first ticker by name. The
    first months have no members, because no ticker has enough bars yet.

    Args:
        bars: `ticker`, `date`, `dollar_volume` (above 0), one row per ticker and session.
        listed: `ticker`, `start_date`, `end_date` of the tickers to choose from.
        count: number of tickers chosen.
        window: sessions.
        sessions: datetime64[D] of shape (n_sessions,), to the last one of `bars`.

    Returns:
        `ticker`, `start_date`, `end_date`, one interval per month, sorted by ticker and start.

    """
    bars = bars.filter(pl.col("dollar_volume") > 0.0).sort("date")
    months = sessions.astype("datetime64[M]")
    closes = np.flatnonzero(months[1:] != months[:-1]).tolist()  # the last month may not be over
    days: list[date] = sessions.tolist()
    chosen = [pl.DataFrame(schema={"ticker": pl.String, "month": pl.Date})]
    for close in closes:
        start = bars["date"].search_sorted(days[max(0, close + 1 - window)], "left")
        stop = bars["date"].search_sorted(days[close], "right")
        ranked = (
            bars[start:stop]
            .group_by("ticker")
            .agg(pl.len(), pl.col("dollar_volume").median())
            .filter(2 * pl.col("len") >= window)
            .sort("dollar_volume", "ticker", descending=[True, False])
            .head(count)
        )
        chosen.append(ranked.select("ticker", month=pl.lit(days[close + 1].replace(day=1), pl.Date)))
    intervals = pl.concat(chosen).join(listed, on="ticker")
    end = pl.min_horizontal("end_date", pl.col("month").dt.month_end())
    return (
        intervals.select("ticker", start_date=pl.max_horizontal("start_date", "month"), end_date=end)
        .filter(pl.col("start_date") <= pl.col("end_date"))
        .sort("ticker", "start_date")
    )


_SHOWN = {"as_of": pl.Date, "date": pl.Date}


def coverage_sessions(sessions: NDArray[np.datetime64], as_ofs: Sequence[date]) -> list[date]:
    """The first session of each June among the sessions, and the decision sessions, ascending."""
    june = sessions[sessions.astype("datetime64[M]").astype(int) % 12 == 5]
    _, first = np.unique(june.astype("datetime64[Y]"), return_index=True)
    return sorted({*june[first].tolist(), *as_ofs})


def coverage(
    membership: pl.DataFrame,
    snapshots: pl.DataFrame,
    held: pl.DataFrame,
    sectors: Sequence[str],
    sessions: NDArray[np.datetime64],
    as_ofs: Sequence[date],
) -> pl.DataFrame:
    """Number of members with a sector and with a bar, in the whole index and by sector (dataset `universe_coverage`).

    Args:
        membership: `ticker`, `start_date`, `end_date`.
        snapshots: `ticker`, `sector`, `known_at`.
        held: `sources.base.HELD` of all members on `coverage_sessions`.
        sectors: slugs.
        sessions: datetime64[D] from the start of the profile to the last of `as_ofs`.
        as_ofs: decision sessions.

    Returns:
        Dataset universe_coverage, sorted by sector and key. A provider with a bar on any session of a decision has a
        row for all of them.

    """
    days = coverage_sessions(sessions, as_ofs)
    classified = sector_on(_days(membership, np.array(days, dtype="datetime64[D]")), snapshots, sessions).drop(
        "assumed_until"
    )
    bars = pl.concat([held, held.with_columns(provider=pl.lit("any"))]).unique().join(classified, on=["ticker", "date"])
    providers = pl.DataFrame({"provider": sorted({*held["provider"], "any"})}, {"provider": pl.String})
    names = pl.DataFrame({"sector": pl.Series(list(sectors), dtype=pl.String)})
    counts = []
    for scope, group in (("index", ["date"]), ("sector", ["sector", "date"])):
        size = classified.group_by(group).agg(members=pl.len(), with_sector=pl.col("sector").is_not_null().sum())
        size = size.join(names, on="sector") if scope == "sector" else size.join(names, how="cross")
        with_bars = bars.group_by(*group, "provider").agg(with_bar=pl.len())
        counted = (
            size.join(providers, how="cross")
            .join(with_bars, on=[*group, "provider"], how="left")
            .with_columns(scope=pl.lit(scope))
        )
        counts.append(counted.select("sector", "scope", "date", "provider", "members", "with_sector", "with_bar"))
    yearly = coverage_sessions(sessions, [])
    shown = pl.DataFrame(
        [(at, day) for at in as_ofs for day in (*yearly, at) if day <= at], _SHOWN, orient="row"
    ).unique()
    rows = shown.join(pl.concat(counts), on="date").with_columns(
        pl.col("members", "with_sector", "with_bar").fill_null(0).cast(pl.Int32)
    )
    # By decision: a provider without bars on its sessions is left out.
    used = rows.filter((pl.col("scope") == "index") & ((pl.col("with_bar") > 0) | (pl.col("provider") == "any")))
    rows = rows.join(used, on=["as_of", "provider"], how="semi")
    return rows.select("sector", *DATASETS["universe_coverage"].columns).sort(
        "sector", "as_of", "scope", "date", "provider"
    )


def _days(membership: pl.DataFrame, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """One row per member and session, sorted by ticker and date."""
    days = pl.Series(sessions, dtype=pl.Date)
    first = pl.Series(days.search_sorted(membership["start_date"], side="left"))
    after = days.search_sorted(membership["end_date"].fill_null(date.max), side="right")
    spread = membership.select("ticker", position=pl.int_ranges(first, pl.Series(after))).explode(
        "position", empty_as_null=False
    )
    return spread.select("ticker", date=days.gather(spread["position"])).unique().sort("ticker", "date")
