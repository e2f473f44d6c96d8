"""Later share counts that altered files keep, because they are needed to find the splits in known counts.

All counts of a download contain the splits up to it, so known counts can only be corrected with the later ones
(`market.share_counts`, `files`). The audit reports this. Only the needed counts are kept; every other figure is
altered.
"""

from datetime import date

import polars as pl

from quant_assets.settings.providers import FundamentalFile
from quant_assets.sources.altered import KEPT, KNOWN


def tells_splits(file: FundamentalFile, rows: pl.LazyFrame) -> bool:
    """Whether a file's counts contain the splits up to its downloads, so that later counts are needed."""
    return file.shares_as_of == "snapshot" and {"snapshot", "shares"} <= {*rows.collect_schema()}


def with_kept_counts(
    rows: pl.LazyFrame, spin_offs: pl.DataFrame, cut: date | pl.Expr, *, removed: bool
) -> pl.LazyFrame:
    """Mark rows that became known after the cut and whose counts are needed for known ones.

    - A spin-off after the last known period is judged by the first period after it, and the periods up to that one.
      Nothing is kept for tickers without such a spin-off, or for a download in which the ticker has no known period.
    - The count of a period that only a later download has is converted to the first download by the median change
      between the two in the ticker's other periods. So for tickers with such a period, the later download's counts of
      known periods are kept. In other periods both downloads are altered equally; if they would be removed, they are
      kept too.

    Args:
        rows: of a file: `ticker`, `period_end`, `snapshot`, `shares`, `KNOWN` (null counts as known), and `company`
            or `form` if the file has them.
        spin_offs: `ticker` and `day`, from the source.
        cut: last day of unaltered rows, null for rows that stay unaltered.
        removed: whether unmarked rows will be removed; else the counts of a period are multiplied by one factor.

    Returns:
        The rows with `KEPT`.

    """
    names = rows.collect_schema().names()
    period = [name for name in ("ticker", "company", "period_end", "form") if name in names]
    later = (pl.col(KNOWN) > cut).fill_null(False)
    known_first_version = (pl.col("snapshot") == pl.col("snapshot").min().over(period)) & ~later
    newest = pl.when(known_first_version).then("snapshot").max().over("ticker")
    needed = (newest > pl.col("snapshot").min().over("ticker")) & (pl.col("snapshot") <= newest)
    between_downloads = needed if removed else needed & known_first_version.any().over(period)

    known = rows.filter(~later).group_by("ticker").agg(known_first=pl.col("period_end").min())
    series = [name for name in ("ticker", "company", "snapshot") if name in names]
    downloaded = rows.select(pl.col("snapshot").min().alias("downloaded"))
    events = (
        spin_offs.lazy()
        .select("ticker", "day")
        .join(downloaded, how="cross")
        .filter(pl.col("day") <= pl.col("downloaded"))
    )
    judged = events.join(known, on="ticker").filter(pl.col("day") > pl.col("known_first"))
    judged_by = (
        rows.filter(pl.col("shares") > 0.0)
        .join(judged.select("ticker", "day"), on="ticker")
        .filter(pl.col("period_end") >= pl.col("day"))
        .group_by(*series, "day")
        .agg(pl.col("period_end").min())
        .group_by("ticker")
        .agg(judged_by=pl.col("period_end").max())
    )
    in_download = (~later).any().over("ticker", "snapshot")
    by_spin_off = in_download & (pl.col("period_end") <= pl.col("judged_by"))
    return (
        rows.join(judged_by, on="ticker", how="left", maintain_order="left")
        .with_columns((later & (between_downloads | by_spin_off).fill_null(False)).alias(KEPT))
        .drop("judged_by")
    )
