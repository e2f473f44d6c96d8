"""Delistings: where a symbol's next company starts, renames, the holders' returns, and presumptions taken back."""

import numpy as np
import polars as pl

from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import DelistingSettings

#: Reason and rule of a row that takes a delisting back because the ticker trades again.
TRADES_AGAIN = "trades_again"

#: Rules of delistings that no provider stated: the ticker had no more bars. They may be taken back.
PRESUMED = ("collapse", "unknown")


def with_corrections(delistings: pl.DataFrame) -> pl.DataFrame:
    """Merge each delisting with the row that takes it back, if any.

    A delisting that was presumed because the ticker had no more bars may turn out wrong. It is valid until the ticker
    trades again; a separate row, known on that day, takes it back.

    Args:
        delistings: `ticker`, `last_session`, `known_at` and `reason` (`sources.base.DELISTINGS`) or `rule` (dataset
            delistings); without `reason` and `rule` no delisting is taken back.

    Returns:
        One row per delisting, in their order, with `trades_again` (Date it was taken back, or null).

    """
    reasons = [name for name in ("reason", "rule") if name in delistings.columns]
    key = ["ticker", "last_session"]
    wrong = pl.col(reasons[0]).eq_missing(pl.lit(TRADES_AGAIN)) if reasons else pl.lit(False)
    taken_back = delistings.filter(wrong).select(*key, trades_again="known_at").unique(key, maintain_order=True)
    return delistings.filter(~wrong).join(taken_back, on=key, how="left", maintain_order="left")


def with_listing(bars: pl.DataFrame, delistings: pl.DataFrame) -> pl.DataFrame:
    """Separate the companies that used the same symbol one after the other.

    A bar after a delisting's last session belongs to another company: the symbol was reused, or new shares replaced
    the old ones. If the delisting was taken back, the company continues. A bar's company depends only on the bars and
    delistings up to its own session.

    Args:
        bars: sorted by `ticker` and `date`, from each ticker's first bar on.
        delistings: `sources.base.DELISTINGS`, all known at the last bar.

    Returns:
        The bars in their order with `listed`, the company's first session.

    """
    ends = with_corrections(delistings).filter(pl.col("trades_again").is_null())
    ends = ends.select("ticker", ended="last_session").sort("ended")
    bars = bars.with_columns(listed=pl.col("date").min().over(pl.col("ticker").rle_id()))
    rows = np.flatnonzero(bars["ticker"].is_in(ends["ticker"].implode()))  # few: most tickers never end
    if not len(rows):
        return bars
    ended = bars[rows].select("ticker", "date", row=pl.Series(rows)).sort("date", maintain_order=True)
    ended = ended.join_asof(
        ends,
        left_on="date",
        right_on="ended",
        by="ticker",
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
    ).with_columns(listed=pl.col("date").min().over("ticker", "ended"))
    return bars.with_columns(bars["listed"].scatter(ended["row"], ended["listed"]))


def company(bars: pl.DataFrame) -> pl.Series:
    """Company number of each bar (Int64), for bars sorted by ticker and date.

    Without the column `listed`, a ticker is one company.
    """
    key = pl.struct("ticker", "listed") if "listed" in bars.columns else pl.col("ticker")
    return bars.select(key.rle_id().cast(pl.Int64)).to_series()


def company_day(bars: pl.DataFrame) -> pl.Series:
    """Number of each bar's company and day (Int64), from bars as for `company`; `>> 24` gives the company number."""
    return company(bars) * 2**24 + bars["date"].to_physical()


def continued(prices: pl.DataFrame, delistings: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Continue a renamed company's closes under its old symbol, because its holders still hold it.

    The added closes are the new symbol's, scaled by the ratio of the two closes at the old symbol's last session.

    Args:
        prices: `ticker, date, close`, and optionally `listed`, `unexplained` and `panel_from`; the new symbol's rows
            include the bars before the rename.
        delistings: dataset delistings.

    Returns:
        Those columns of the prices, and the delistings `with_corrections`. Later delistings of the new symbol replace
        the rename; it remains if the prices lack the new symbol, or have it only since a later move into the sector.

    """
    columns = ("ticker", "date", "close", "listed", "unexplained", "panel_from")
    prices = prices.select(pl.selectors.by_name(*columns, require_all=False))
    delistings = with_corrections(delistings).unique(["ticker", "last_session"], maintain_order=True)
    company = ["listed"] if "listed" in prices.columns else []
    for rename in delistings.drop_nulls("successor").sort("known_at", descending=True).iter_rows(named=True):
        old, new = (prices.filter(pl.col("ticker") == symbol) for symbol in (rename["ticker"], rename["successor"]))
        known_then, in_time = pl.lit(True), pl.lit(True)
        if "panel_from" in prices.columns:  # a ticker that moved into the sector later has its earlier bars too
            known_then, in_time = (pl.col("panel_from") <= day for day in (rename["known_at"], pl.col("date")))
        last, base = (rows.filter(pl.col("date") == rename["last_session"], known_then).head(1) for rows in (old, new))
        if last.is_empty() or base.is_empty():
            continue
        later = new.filter(pl.col("date") >= rename["known_at"])
        later = later.join(base, on=company, how="semi", maintain_order="left") if company else later
        old_company = {name: pl.lit(last[name][0]) for name in ("ticker", *company)}
        prices = pl.concat(
            [prices, later.with_columns(close=pl.col("close") * (last["close"][0] / base["close"][0]), **old_company)]
        )
        # Only until another company takes over the old symbol: later delistings of the symbol are that company's.
        reused = old.filter(pl.col("date") >= rename["known_at"], in_time)["date"].min()
        follows = (pl.col("ticker") == rename["successor"]) & (pl.col("last_session") >= rename["known_at"])
        if reused is not None:
            follows &= pl.col("last_session") < reused
        done = (pl.col("ticker") == rename["ticker"]) & (pl.col("last_session") == rename["last_session"])
        delistings = pl.concat(
            [delistings.filter(~done), delistings.filter(follows).with_columns(ticker=pl.lit(rename["ticker"]))]
        )
    return prices, delistings


def with_returns(delistings: pl.DataFrame, prices: pl.DataFrame, settings: DelistingSettings) -> pl.DataFrame:
    """Rule and holders' return of each delisting, from what was known at the time (dataset `delistings`).

    The rules, in order:

    - `takeover`, `renamed`: reported by the provider. Holders got the last price: return 0.
    - `failure`: reported by the provider. Return `failure_return`.
    - `collapse`: no reason is reported, but the price had collapsed (see `DelistingSettings`). `failure_return`.
    - `trades_again`: the ticker trades again, so the delisting of this last session is taken back. Null.
    - `unknown`: null; a user that needs a return takes the last price. Nothing is inferred from later events or from
      leaving the index, which takeovers and failures have in common.

    Args:
        delistings: `sources.base.DELISTINGS`.
        prices: `ticker, date, listed, close, price_factor, traded_factor` of the whole history (dataset ohlcv, any
            order).
        settings: the convention.

    Returns:
        Dataset delistings without `sector`, sorted by ticker, last_session and known_at.

    """
    bars = prices.join(delistings.select("ticker", "last_session").unique(), on="ticker").filter(
        pl.col("date") <= pl.col("last_session")
    )
    newest = pl.col("listed") == pl.col("listed").max().over("ticker", "last_session")
    last_prices = (
        bars.filter(newest)
        .sort("ticker", "last_session", "date")
        .select(
            "ticker",
            "last_session",
            adjusted=pl.col("close") * pl.col("price_factor"),
            traded=pl.col("close") * pl.col("traded_factor"),
        )
        .group_by("ticker", "last_session", maintain_order=True)
        .agg(
            fall=1.0 - pl.col("adjusted").last() / pl.col("adjusted").tail(settings.collapse_sessions).max(),
            traded=pl.col("traded").last(),
        )
    )
    collapsed = (pl.col("traded") < settings.collapse_price) | (pl.col("fall") >= settings.collapse_fall)
    rule = pl.coalesce("reason", pl.when(collapsed.fill_null(False)).then(pl.lit("collapse")), pl.lit("unknown"))
    loss = {
        "takeover": 0.0,
        "renamed": 0.0,
        "failure": settings.failure_return,
        "collapse": settings.failure_return,
        "unknown": None,
        TRADES_AGAIN: None,
    }
    return (
        delistings.join(last_prices, on=["ticker", "last_session"], how="left")
        .with_columns(rule=rule)
        .with_columns(delisting_return=pl.col("rule").replace_strict(loss, return_dtype=pl.Float64))
        .select(list(DATASETS["delistings"].columns))
        .sort("ticker", "last_session", "known_at")
    )
