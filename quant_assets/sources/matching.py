"""Mismatches of a provider's universe and bars: why a run has no rows, or decides on a day without bars."""

from collections.abc import Collection, Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market import calendar
from quant_assets.market.provider_gaps import LACKING_TICKERS, LOST_SHARE, USUAL_DAYS, USUAL_SESSIONS
from quant_assets.market.universe import members
from quant_assets.settings.domain import FIRST_DAY
from quant_assets.sources.base import Source

_SHOWN = 5


def unmatched(source: Source, sectors: Collection[str], first: date, through: date) -> str | None:
    """Why no member of these sectors has a bar in a range of days.

    Returns:
        A clause that names some tickers; None if a member has a bar.

    """
    membership = source.membership(through).filter(pl.col("end_date").is_null() | (pl.col("end_date") >= first))
    members = membership["ticker"].unique().sort().to_list()
    when = f"from {first} to {through}"
    if not members:
        return f"no ticker is a member of the universe {when}"
    snapshots = source.sector_snapshots(through)
    every = set(snapshots["ticker"])
    if not every:
        return f"no sector is known for any of {_named(members)}"
    classified = [ticker for ticker in members if ticker in every]
    if not classified:
        return (
            f"none of {_named(members)} has a sector; tickers with a sector are {_named(every)}"
            f"{_other_case(members, every)}"
        )
    own = set(snapshots.filter(pl.col("sector").is_in(list(sectors)))["ticker"])
    asked = [ticker for ticker in classified if ticker in own]
    if not asked:
        others = snapshots.filter(pl.col("ticker").is_in(classified))["sector"].unique().sort().to_list()
        return f"none of {_named(classified)} is in {', '.join(sectors)}; they are in {', '.join(others)}"
    days = calendar.sessions(first, through).tolist()
    if not source.held(asked, days).is_empty():
        return None
    variants = sorted({form for ticker in asked for form in (ticker.lower(), ticker.upper())} - set(asked))
    spelt = source.held(variants, days)["ticker"].unique().to_list()
    if spelt:
        return f"none of {_named(asked)} has a bar {when}{_other_case(asked, spelt)}"
    elsewhere = source.bars(asked[:_SHOWN], FIRST_DAY, through)["date"]
    there = f"; there are bars of them from {elsewhere.min()!s} to {elsewhere.max()!s}" if len(elsewhere) else ""
    return f"none of {_named(asked)} has a bar {when}{there}"


def undecided(source: Source, sectors: Sequence[str], days: Sequence[date], mapping: str) -> list[str]:
    """Sentences on decisions, and executions, on days when most of a sector's members have no bar.

    Members without a bar are neither chosen nor bought, and holdings are sold at their last price. Files may end before
    that day, or lack it. A day counts for a sector if no member has a bar, or fewer than half of those with a bar on
    one of the `provider_gaps.USUAL_SESSIONS` before: companies without any price do not count.

    Args:
        source: of the members and bars.
        sectors: slugs.
        days: sessions of decisions or executions, ascending.
        mapping: file where as_of is set, for the message.

    """
    if not days:
        return []
    membership, snapshots = source.membership(days[-1]), source.sector_snapshots(days[-1])
    decided = np.array(days, dtype="datetime64[D]")
    asked = pl.concat(
        members(membership, snapshots, sector, decided).select("ticker", "date", sector=pl.lit(sector))
        for sector in sectors
    )
    now = _counted(source, asked.with_columns(session="date"))
    # Usually most members have bars, and earlier sessions need not be read.
    few = now.filter(pl.col("there") < (1.0 - LOST_SHARE) * pl.col("members")).drop("session")
    if few.is_empty():
        return []
    before = {
        day: calendar.sessions(day - timedelta(days=USUAL_DAYS), day)[-1 - USUAL_SESSIONS : -1]
        for day in few["date"].unique().to_list()
    }
    nearby = [asked.filter(pl.col("date") == day).join(_sessions(each), how="cross") for day, each in before.items()]
    usual = _counted(source, pl.concat([asked.clear().with_columns(session="date"), *nearby]))
    lost = (
        few.join(usual.group_by("sector", "date").agg(usual=pl.col("there").max()), on=["sector", "date"], how="left")
        .with_columns(missing=pl.col("usual") - pl.col("there"))
        .filter(
            (pl.col("there") == 0)
            | ((pl.col("missing") >= LACKING_TICKERS) & (pl.col("missing") > LOST_SHARE * pl.col("usual")))
        )
    )
    alike: dict[tuple[date, ...], list[str]] = {}
    for sector in sectors:
        found = lost.filter(pl.col("sector") == sector)["date"].sort().to_list()
        if found:
            alike.setdefault(tuple(found), []).append(sector)
    return [
        f"{', '.join(those)}: on {_named([str(day) for day in lacked])} most members have no bar, so that none of "
        f"these is chosen or bought then; complete the prices, or set as_of in {mapping} to their last day"
        for lacked, those in alike.items()
    ]


def _sessions(days: NDArray[np.datetime64]) -> pl.DataFrame:
    return pl.DataFrame({"session": pl.Series(days, dtype=pl.Date)})


def _counted(source: Source, asked: pl.DataFrame) -> pl.DataFrame:
    """Number of `members` by `sector` and `date`, and number of them with a bar on each `session` (`there`)."""
    tickers, days = (asked[name].unique().sort().to_list() for name in ("ticker", "session"))
    held = source.held(tickers, days).select("ticker", session="date").unique().with_columns(there=pl.lit(1))
    return (
        asked.join(held, on=["ticker", "session"], how="left")
        .group_by("sector", "date", "session")
        .agg(members=pl.len(), there=pl.col("there").sum())
    )


def _other_case(wanted: Sequence[str], there: Collection[str]) -> str:
    """A clause for tickers that exist with another case."""
    upper = {ticker.upper() for ticker in wanted}
    alike = [ticker for ticker in there if ticker.upper() in upper]
    return f", but there is {_named(alike)}: spell tickers alike in all files" if alike else ""


def _named(tickers: Collection[str]) -> str:
    named = sorted(tickers)
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return f"{', '.join(named[:_SHOWN])}{more}"
