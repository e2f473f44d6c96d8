"""Tickers that may be picked at a month's decision: the stored candidates, and the next ones if these are few."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

import polars as pl

from quant_assets.errors import HistoryError, SettingsError
from quant_assets.partitions import key
from quant_assets.profile import Profile
from quant_assets.signals.selection import selection


@dataclass(frozen=True)
class Candidates:
    """Tickers of a sector and decision that may be picked.

    Attributes:
        as_of: session of the decision.
        composite: selection score by ticker.
        count: number of stored candidates; the others are the next tickers by selection score.

    """

    as_of: date
    composite: Mapping[str, float]
    count: int


def candidates_of(
    profile: Profile, sector: str, month: str, kind: Literal["long", "short", "both"], at_least: int
) -> Candidates:
    """The candidates of a month's decision; if they are few, with the next eligible tickers of their side.

    Args:
        profile: whose storage is read.
        sector: slug.
        month: of the decision.
        kind: side of the candidates.
        at_least: number of tickers to fill up to by selection score: in a small sector the fractions of `candidates`
            leave too few to choose from.

    Raises:
        MissingPartitionError: the month is not stored.
        HistoryError: no ticker was chosen.

    """
    keys, through = [key(sector, month)], lambda _: profile.known_through(month)
    rows = profile.store.read(profile.datasets["candidates"], keys, through).collect()
    if later := rows.filter(pl.col("as_of") > profile.last_session())["as_of"].to_list():
        raise SettingsError(f"the stored decision of {sector} {month} was taken at {later[0]}, after the pinned as_of")
    if rows.is_empty():
        raise HistoryError(f"{sector} {month}: no ticker was chosen; quant candidates -s {sector} -m {month} shows why")
    as_of: date = rows["as_of"][0]
    of_kind = rows if kind == "both" else rows.filter(pl.col("candidate_type") == kind)
    stored = dict(of_kind.select("ticker", "composite_score").iter_rows())
    if len(stored) >= at_least:
        return Candidates(as_of, stored, len(stored))
    decided = pl.col("date") == as_of
    frames = [profile.store.read(profile.datasets[name], keys).filter(decided) for name in ("indicators", "universe")]
    indicators, universe = (frame.drop("sector", "month").collect() for frame in frames)
    scored = selection(indicators, universe, [as_of], profile.settings.candidates).scored
    others = scored.filter(~pl.col("ticker").is_in(rows["ticker"].to_list()))
    side = {"long": pl.col("composite_score") > 0, "short": pl.col("composite_score") < 0, "both": pl.lit(True)}[kind]
    strength = pl.col("composite_score") if kind == "long" else -pl.col("composite_score")
    next_ones = others.filter(side).sort(
        strength.abs() if kind == "both" else strength, "ticker", descending=[True, False]
    )
    joined = next_ones.head(at_least - len(stored)).select("ticker", "composite_score").iter_rows()
    return Candidates(as_of, stored | dict(joined), len(stored))
