"""Who was in the index, session by session, and in which sector as known at the time."""

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
        snapshots: `ticker`, `sector`, `known_at`; the newest not after the date counts, and the first one before it
            too.
        sector: slug.
        sessions: datetime64[D] of shape (n_sessions,).

    Returns:
        `ticker`, `date`, `sector_assumed` (true before the ticker's first snapshot), sorted by ticker and date.

    """
    ever = snapshots.filter(pl.col("sector") == sector)["ticker"]
    days = _days(membership.filter(pl.col("ticker").is_in(ever.implode())), sessions)
    there = sector_on(days, snapshots, sessions).filter(pl.col("sector") == sector)
    return there.select("ticker", "date", sector_assumed=pl.col("date") < pl.col("assumed_until"))


def unclassified(membership: pl.DataFrame, snapshots: pl.DataFrame, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """Index members on these sessions that no snapshot classifies, and that every sector's universe therefore lacks.

    Returns:
        `ticker`, `first_date`, `last_date` (sessions, of the ticker's intervals taken together), sorted by ticker.

    """
    without = membership.filter(~pl.col("ticker").is_in(snapshots["ticker"].implode()))
    found = (
        _days(without, sessions).group_by("ticker").agg(first_date=pl.col("date").min(), last_date=pl.col("date").max())
    )
    return found.sort("ticker")


def listed(held: pl.DataFrame, delistings: pl.DataFrame, begins: pl.DataFrame) -> pl.DataFrame:
    """Membership of whoever has a price: from a ticker's first bar until it is known to have been delisted.

    Args:
        held: `ticker`, `date` of every bar, in any order.
        delistings: `sources.base.DELISTINGS` of the tickers.
        begins: `ticker`, `since` of symbols that their company took over on that day, with its history.

    Returns:
        `ticker`, `start_date`, `end_date` (both included, null while it trades), sorted by ticker and start.

    """
    # A delisting that was taken back stands twice: it was known from the first of the two days on.
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
    """Membership of the tickers with the largest median dollar volume, chosen anew at the close of each month.

    Who is chosen at the last session of a month is a member on the days of the next one on which it is `listed`. Each
    is judged by its bars among the last `window` sessions, of which it must have half; of equal ones the first by name
    counts. In the month of the first bar and the next few there are none to choose from.

    Args:
        bars: `ticker`, `date`, `dollar_volume` (above 0), one for each ticker and session.
        listed: `ticker`, `start_date`, `end_date` of those to choose from.
        count: how many are chosen.
        window: sessions.
        sessions: datetime64[D] of shape (n_sessions,), to the last one of `bars`.

    Returns:
        `ticker`, `start_date`, `end_date`, an interval for each month, sorted by ticker and start.

    """
    bars = bars.filter(pl.col("dollar_volume") > 0.0).sort("date")
    months = sessions.astype("datetime64[M]")
    closes = np.flatnonzero(months[1:] != months[:-1]).tolist()  # the last month may not be over
    every: list[date] = sessions.tolist()
    chosen = [pl.DataFrame(schema={"ticker": pl.String, "month": pl.Date})]
    for close in closes:
        start = bars["date"].search_sorted(every[max(0, close + 1 - window)], "left")
        stop = bars["date"].search_sorted(every[close], "right")
        ranked = (
            bars[start:stop]
            .group_by("ticker")
            .agg(pl.len(), pl.col("dollar_volume").median())
            .filter(2 * pl.col("len") >= window)
            .sort("dollar_volume", "ticker", descending=[True, False])
            .head(count)
        )
        chosen.append(ranked.select("ticker", month=pl.lit(every[close + 1].replace(day=1), pl.Date)))
    both = pl.concat(chosen).join(listed, on="ticker")
    end = pl.min_horizontal("end_date", pl.col("month").dt.month_end())
    return (
        both.select("ticker", start_date=pl.max_horizontal("start_date", "month"), end_date=end)
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
    """How many members had a sector and a bar, over the whole index and in each sector (dataset `universe_coverage`).

    Args:
        membership: `ticker`, `start_date`, `end_date`.
        snapshots: `ticker`, `sector`, `known_at`.
        held: `sources.base.HELD` of all members on `coverage_sessions`.
        sectors: slugs.
        sessions: datetime64[D] from the start of the profile to the last of `as_ofs`.
        as_ofs: decision sessions.

    Returns:
        Dataset universe_coverage, sorted by sector and key. A provider with a bar on one session of a decision has a
        row on each.

    """
    counted = coverage_sessions(sessions, as_ofs)
    there = sector_on(_days(membership, np.array(counted, dtype="datetime64[D]")), snapshots, sessions).drop(
        "assumed_until"
    )
    bars = pl.concat([held, held.with_columns(provider=pl.lit("any"))]).unique().join(there, on=["ticker", "date"])
    providers = pl.DataFrame({"provider": sorted({*held["provider"], "any"})}, {"provider": pl.String})
    names = pl.DataFrame({"sector": pl.Series(list(sectors), dtype=pl.String)})
    counts = []
    for scope, group in (("index", ["date"]), ("sector", ["sector", "date"])):
        size = there.group_by(group).agg(members=pl.len(), with_sector=pl.col("sector").is_not_null().sum())
        size = size.join(names, on="sector") if scope == "sector" else size.join(names, how="cross")
        met = bars.group_by(*group, "provider").agg(with_bar=pl.len())
        both = (
            size.join(providers, how="cross")
            .join(met, on=[*group, "provider"], how="left")
            .with_columns(scope=pl.lit(scope))
        )
        counts.append(both.select("sector", "scope", "date", "provider", "members", "with_sector", "with_bar"))
    yearly = coverage_sessions(sessions, [])
    shown = pl.DataFrame(
        [(at, day) for at in as_ofs for day in (*yearly, at) if day <= at], _SHOWN, orient="row"
    ).unique()
    rows = shown.join(pl.concat(counts), on="date").with_columns(
        pl.col("members", "with_sector", "with_bar").fill_null(0).cast(pl.Int32)
    )
    # Of the sessions of one decision alone: a provider of other months says nothing here.
    used = rows.filter((pl.col("scope") == "index") & ((pl.col("with_bar") > 0) | (pl.col("provider") == "any")))
    rows = rows.join(used, on=["as_of", "provider"], how="semi")
    return rows.select("sector", *DATASETS["universe_coverage"].columns).sort(
        "sector", "as_of", "scope", "date", "provider"
    )


def _days(membership: pl.DataFrame, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """One row for each member and session, sorted by ticker and date."""
    every = pl.Series(sessions, dtype=pl.Date)
    first = pl.Series(every.search_sorted(membership["start_date"], side="left"))
    after = every.search_sorted(membership["end_date"].fill_null(date.max), side="right")
    spread = membership.select("ticker", position=pl.int_ranges(first, pl.Series(after))).explode(
        "position", empty_as_null=False
    )
    dates = every.gather(spread["position"])
    return spread.select("ticker", date=dates).unique().sort("ticker", "date")
