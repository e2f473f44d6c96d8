"""Why the universe and the bars of a provider do not meet: what a person must know whose run ended without a row."""

from collections.abc import Collection, Sequence
from datetime import date

import polars as pl

from quant_assets.market import calendar
from quant_assets.settings.domain import FIRST_DAY
from quant_assets.sources.base import Source

_SHOWN = 5


def unmatched(source: Source, sectors: Collection[str], first: date, through: date) -> str | None:
    """Why no member of these sectors has a bar from one day to another.

    Returns:
        A clause that names some tickers; None where a member has one.

    """
    membership = source.membership(through).filter(pl.col("end_date").is_null() | (pl.col("end_date") >= first))
    members = membership["ticker"].unique().sort().to_list()
    when = f"from {first} to {through}"
    if not members:
        return f"no ticker is a member of the universe {when}"
    snapshots = source.sector_snapshots(through)
    every = set(snapshots["ticker"])
    if not every:
        return f"no sector is known of any of {_named(members)}"
    classified = [ticker for ticker in members if ticker in every]
    if not classified:
        return (
            f"none of {_named(members)} has a sector; those of which one is known are {_named(every)}"
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


def _other_case(wanted: Sequence[str], there: Collection[str]) -> str:
    """What is to be said where tickers are there in other letters."""
    upper = {ticker.upper() for ticker in wanted}
    alike = [ticker for ticker in there if ticker.upper() in upper]
    return f", but there is {_named(alike)}: write tickers in the same letters in all files" if alike else ""


def _named(tickers: Collection[str]) -> str:
    named = sorted(tickers)
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return f"{', '.join(named[:_SHOWN])}{more}"
