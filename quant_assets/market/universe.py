"""Who was in the index, session by session, and in which sector as known at the time."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.placement import panel_tickers, sector_on
from quant_assets.schemas import DATASETS

__all__ = ["coverage", "coverage_sessions", "members", "panel_tickers", "unclassified"]


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
