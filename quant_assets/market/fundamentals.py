"""Financial statements as they became known."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.placement import place, session_from
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import FundamentalSettings


def as_known(
    statements: pl.DataFrame,
    snapshots: pl.DataFrame,
    sector: str,
    settings: FundamentalSettings,
    sessions: NDArray[np.datetime64],
) -> pl.DataFrame:
    """Statements of a sector's panel with the session from whose close on they may be used (dataset `fundamentals`).

    A version is known at the first session on or after its publication plus `min_lag_days` or, if the day of
    publication is unknown, the end of the period plus `default_publication_lag_days`; with `from_restatement`, not
    before the day on which the provider last restated its figures; never before an earlier version or the first
    session. Of several versions known from the same session on, the last one counts.

    Args:
        statements: `sources.base.STATEMENTS` of the panel's tickers.
        snapshots: `sources.base.SECTOR_SNAPSHOTS`.
        sector: slug.
        settings: the lags, and whether restated figures wait for the restatement.
        sessions: datetime64[D] of shape (n_sessions,) from the start of the profile on; statements known later are left
            out.

    Returns:
        Rows of the dataset; `panel_from` is `known_at` or, if later, the session at which the ticker entered the panel.

    """
    period = ["ticker", "period_end", "frequency", "provider"]
    published = pl.col("published") + pl.duration(days=settings.min_lag_days)
    assumed = pl.col("period_end") + pl.duration(days=settings.default_publication_lag_days)
    first = pl.coalesce(published, assumed)
    restated = pl.col("restated_on") + pl.duration(days=settings.min_lag_days)
    known = (
        statements.sort(*period, "version")
        # A version is unknown while its predecessor is missing.
        .filter(pl.col("version") == pl.int_range(pl.len()).over(period))
        .with_columns(usable=pl.max_horizontal(first, restated) if settings.from_restatement else first)
        .with_columns(usable=pl.col("usable").cum_max().over(period))
        .with_columns(known_at=session_from("usable", sessions))
        .drop_nulls("known_at")
        .unique([*period, "known_at"], keep="last", maintain_order=True)
        .with_columns(restated=~pl.struct(period).is_first_distinct())
    )
    dataset = DATASETS["fundamentals"]
    return place(known, snapshots, sector, sessions, "known_at").select(list(dataset.columns)).sort(dataset.key)
