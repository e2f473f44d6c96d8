"""Sessions on which a provider lacks many of its usual tickers: a lost download, not an event of one company."""

import polars as pl

#: A provider's usual number of tickers: the largest on its last sessions, within these days.
USUAL_SESSIONS = 5
USUAL_DAYS = 30
#: A session is lacking if at least this number and this share of the usual tickers are missing.
LACKING_TICKERS = 2
LACKING_SHARE = 0.1
#: Share from which on a session is lost: a missing bar then says nothing about its company. Much larger than
#: `LACKING_SHARE`: in a file with a dozen tickers, two that end on one day are a sixth.
LOST_SHARE = 0.5


def lacking(days: pl.DataFrame, share: float = LACKING_SHARE) -> pl.DataFrame:
    """Sessions on which a provider has bars, but lacks at least `LACKING_TICKERS` and this share of its usual tickers.

    The result depends only on the session and those before it. A session without any bar is not among the rows.

    Args:
        days: `provider, date, tickers` (number with a bar), without repeats.
        share: share of the usual tickers.

    Returns:
        `provider, date`, sorted.

    """
    nearby = pl.duration(days=USUAL_DAYS)
    before = [
        pl.when(pl.col("date").shift(k).over("provider") >= pl.col("date") - nearby).then(
            pl.col("tickers").shift(k).over("provider")
        )
        for k in range(1, USUAL_SESSIONS + 1)
    ]
    usual = pl.max_horizontal(before)
    missing = usual - pl.col("tickers").cast(pl.Int64)
    return (
        days.sort("provider", "date")
        .filter((missing >= LACKING_TICKERS) & (missing >= share * usual))
        .select("provider", "date")
    )
