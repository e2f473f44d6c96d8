"""Why an index member has no bar on a session, as far as is known at the end of the month."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from quant_assets.market.calendar import session_number
from quant_assets.market.delistings import with_corrections
from quant_assets.market.provider_gaps import USUAL_DAYS, lacking
from quant_assets.schemas import DATASETS


def absences(
    members: pl.DataFrame,
    series: pl.DataFrame,
    bars: pl.DataFrame,
    quarantine: pl.DataFrame,
    delistings: pl.DataFrame,
    entered: pl.DataFrame,
    as_ofs: Sequence[date],
) -> pl.DataFrame:
    """Sessions of members without a bar, as spells with one reason, as known at the month's decision session.

    The first reason that applies counts, in the order of the schema. Which sessions a provider lacks is decided from
    all tickers in the panel by then; this dependence on other tickers is declared.

    Args:
        members: `ticker, date`, the sessions that are expected to have a bar.
        series: `ticker, date` of the existing bars (the whole dataset ohlcv).
        bars: `ticker, date, provider` as given, from the start of the profile on.
        quarantine: `ticker, date` of the refused bars.
        delistings: `ticker, last_session, known_at, reason`. One taken back by the month's end does not count.
        entered: `ticker, entered`, the session from which a ticker is in the panel (`placement.entries`). Bars before
            it are not counted for a provider: an earlier month does not know of them.
        as_ofs: decision sessions, ascending; members after the last one are left out.

    Returns:
        Dataset absences without `sector`, sorted by key.

    """
    decided = pl.DataFrame({"as_of": pl.Series(as_ofs, dtype=pl.Date)})
    missing = members.select("ticker", "date").join(series, on=["ticker", "date"], how="anti").sort("date", "ticker")
    missing = missing.join_asof(
        decided, left_on="date", right_on="as_of", strategy="forward", coalesce=False
    ).drop_nulls("as_of")
    tickers = missing["ticker"].implode()  # only few tickers lack bars: do not sort the bars of the others
    known = series.filter(pl.col("ticker").is_in(tickers)).select("ticker", "date").sort("date")
    missing = missing.join_asof(
        known.with_columns(last_bar="date"),
        on="date",
        by="ticker",
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
    )
    ended = with_corrections(delistings).select("ticker", "known_at", "trades_again", gone="last_session").sort("gone")
    missing = missing.join_asof(
        ended, left_on="date", right_on="gone", by="ticker", allow_exact_matches=False, check_sortedness=False
    )
    refused = quarantine.select("ticker", "date", refused=pl.lit(True)).unique()
    missing = missing.join(refused, on=["ticker", "date"], how="left", maintain_order="left")
    missing = missing.join(_providers(missing, bars, entered), on=["ticker", "date"], how="left", maintain_order="left")
    not_taken_back = pl.col("trades_again").is_null() | (pl.col("trades_again") > pl.col("as_of"))
    reasons = (
        ("quarantined", pl.col("refused")),
        ("no_bar_yet", pl.col("last_bar").is_null()),
        ("delisted", (pl.col("gone") >= pl.col("last_bar")) & (pl.col("known_at") <= pl.col("as_of")) & not_taken_back),
        ("provider_ended", pl.col("open").is_null() | ~pl.col("open")),
        ("provider_gap", ~pl.col("has_day")),
    )
    reason = pl.coalesce(
        *(pl.when(applies.fill_null(False)).then(pl.lit(name)) for name, applies in reasons), pl.lit("halt")
    )
    number = pl.Series(session_number(missing["date"].to_numpy().astype("datetime64[D]")), dtype=pl.Int64)
    rows = missing.with_columns(reason=reason, number=number).sort("ticker", "date")
    same = (pl.col("number") == pl.col("number").shift() + 1) & pl.all_horizontal(
        pl.col(name) == pl.col(name).shift() for name in ("ticker", "as_of", "reason")
    )
    return (
        rows.with_columns(spell=(~same.fill_null(False)).cum_sum())
        .group_by("spell", maintain_order=True)
        .agg(
            pl.col("as_of", "ticker", "reason").first(),
            first_session=pl.col("date").first(),
            last_session=pl.col("date").last(),
            sessions=pl.len().cast(pl.Int32),
        )
        .select(list(DATASETS["absences"].columns))
        .sort("as_of", "ticker", "first_session")
    )


def _providers(missing: pl.DataFrame, bars: pl.DataFrame, entered: pl.DataFrame) -> pl.DataFrame:
    """Whether any provider that had the ticker before has later bars of any ticker by `as_of`, and has the session.

    Returns:
        `ticker, date, open, has_day`; no row if no provider had the ticker before.

    """
    # Earlier bars affect no result: do not search the whole history.
    first = missing["date"].min()
    present = bars.filter(pl.col("date") >= pl.lit(first, pl.Date) - pl.duration(days=USUAL_DAYS))
    present = present.join(entered, on="ticker").filter(pl.col("date") >= pl.col("entered"))
    days = present.group_by("provider", "date").agg(tickers=pl.len().cast(pl.Int64)).sort("provider", "date")
    gaps = lacking(days)
    had = (
        bars.filter(pl.col("ticker").is_in(missing["ticker"].implode()))
        .group_by("ticker", "provider")
        .agg(begun=pl.col("date").min())
    )
    rows = (
        missing.select("ticker", "date", "as_of")
        .join(had, on="ticker")
        .filter(pl.col("begun") < pl.col("date"))
        .sort("date")
    )
    rows = rows.join_asof(
        days.select("provider", next_day="date").sort("next_day"),
        left_on="date",
        right_on="next_day",
        by="provider",
        strategy="forward",
        check_sortedness=False,
    )
    rows = rows.join(gaps.select("provider", "date", gap=pl.lit(True)), on=["provider", "date"], how="left")
    open_then = pl.col("next_day") <= pl.col("as_of")
    return rows.group_by("ticker", "date").agg(
        open=open_then.fill_null(False).any(),
        has_day=(open_then.fill_null(False) & (pl.col("next_day") == pl.col("date")) & pl.col("gap").is_null()).any(),
    )
