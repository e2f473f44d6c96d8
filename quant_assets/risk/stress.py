"""Dated market episodes: the return of each name in past ones."""

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.calendar import last_session_to
from quant_assets.market.containment import marks
from quant_assets.market.panel import STALE_SESSIONS, Panel
from quant_assets.market.sector_return import LOOKBACK, as_known, counted_changes, equal_weight_returns
from quant_assets.schemas import DATASETS
from quant_assets.settings.risk import Episode


def episode_returns(
    prices: pl.DataFrame,
    universe: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    episodes: Mapping[str, Episode],
    first_day: date,
    last_day: date,
) -> pl.DataFrame:
    """Returns of a sector's names in the episodes that end between two days, from the close of the first session.

    A name's return compounds its counted returns (`counted_changes`) from a close at most `STALE_SESSIONS` sessions
    before the first session's to its last bar, which must be as near to the last session. The sector's return is that
    of its members with equal weights. An episode whose last session has not come, or that begins before the sessions,
    has no rows.

    Args:
        prices: dataset prices of a sector.
        universe: dataset universe of the sector.
        sessions: datetime64[D], every session from `LOOKBACK` before the first of the episodes.
        episodes: episodes by name.
        first_day: of the partitions.
        last_day: of the partitions.

    Returns:
        Dataset episode_returns, sorted by ticker and episode.

    """
    schema = DATASETS["episode_returns"].schema
    parts = [pl.DataFrame(schema=schema)]
    if not len(sessions):
        return parts[0]
    for name, episode in sorted(episodes.items()):
        first, last = last_session_to(episode.first), last_session_to(episode.last)
        begin, end = (int(np.searchsorted(sessions, np.datetime64(day))) for day in (first, last))
        if not first_day <= last <= last_day or end >= len(sessions) or sessions[0] > np.datetime64(first):
            continue
        span = sessions[max(begin - LOOKBACK, 0) : end + 1]
        at = begin - max(begin - LOOKBACK, 0)
        inside = pl.col("date").is_between(span[0].item(), last)
        bars = marks(as_known(prices.filter(inside))).select("ticker", "date", "close", "unexplained")
        panel = Panel.from_long(bars, span, ["close", "unexplained"])
        observed = np.isfinite(panel["close"])
        based = observed[:, max(at - STALE_SESSIONS, 0) : at + 1].any(axis=1)
        ended = observed[:, -1 - STALE_SESSIONS :].any(axis=1)
        grown = np.nan_to_num(counted_changes(panel)[:, at + 1 :], nan=0.0) + 1.0
        sector = equal_weight_returns(prices.filter(inside), universe.filter(inside), span)[at + 1 :]
        if not np.isfinite(sector).any():
            continue
        complete = based & ended
        rows = pl.DataFrame(
            {"ticker": panel.tickers, "episode_return": np.prod(grown, axis=1) - 1.0}, strict=False
        ).filter(pl.Series(complete, dtype=pl.Boolean))
        of_sector = float(np.prod(np.nan_to_num(sector, nan=0.0) + 1.0) - 1.0)
        parts.append(
            rows.with_columns(
                episode=pl.lit(name), first=pl.lit(first), last=pl.lit(last), sector_return=pl.lit(of_sector)
            )
            .select(list(schema))
            .cast(schema)
        )
    return pl.concat(parts).sort("ticker", "episode")
