"""On which sessions a provider lacks tickers that it usually has: a lost download, and no sign of any one company."""

import polars as pl

#: What a provider usually has is the most that it had on one of its last sessions in these days.
USUAL_SESSIONS = 5
USUAL_DAYS = 30
#: It lacks a session for many where so many of those are missing, and this share of them.
LACKING_TICKERS = 2
LACKING_SHARE = 0.1
#: Share beyond which the session is lost altogether, and silence on it says nothing of a company. Much more than for
#: `LACKING_SHARE`: where a file has a dozen tickers, two that end on one day are a sixth of it.
LOST_SHARE = 0.5


def lacking(days: pl.DataFrame, share: float = LACKING_SHARE) -> pl.DataFrame:
    """Sessions on which a provider has bars, but lacks `LACKING_TICKERS` and this share of its usual tickers or more.

    A session is judged by it and the sessions before it alone. One without any bar is not among the rows.

    Args:
        days: `provider, date, tickers` (how many have a bar), each pair once.
        share: of the usual tickers.

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
