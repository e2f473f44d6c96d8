"""Macroeconomic observations as they became known."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.placement import session_from
from quant_assets.schemas import DATASETS


def as_known(macro: pl.DataFrame, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """Observations with the session from whose close on they may be used (dataset `macro`).

    That is the first session on or after the release or, if it is unknown, the start of the period plus `lag_days`. Of
    the observations known before the first session, only a series' newest period is kept, from that session on.

    Args:
        macro: `sources.base.MACRO`. A withdrawn value is null from then on; a null without a value before it is left
            out.
        sessions: datetime64[D] of shape (n_sessions,) from the start of the profile on; later observations are left
            out.

    """
    dataset = DATASETS["macro"]
    known = (
        macro.with_columns(usable=pl.coalesce("released", pl.col("period") + pl.duration(days="lag_days")))
        .with_columns(known_at=session_from("usable", sessions))
        .drop_nulls("known_at")
        .sort("series_id", "period", "usable")
        .unique(["series_id", "period", "known_at"], keep="last", maintain_order=True)
        .filter(
            pl.col("value").is_not_null() | pl.col("value").shift().over("series_id", "period").is_not_null(),
        )
    )
    before = pl.col("usable") < pl.lit(sessions[0].item() if len(sessions) else None, pl.Date)
    newest = pl.col("period") == pl.col("period").filter(before).max().over("series_id")
    return known.filter(~before | newest).select(list(dataset.columns)).sort(dataset.key)
