"""What a delisting means for a symbol and for those who held it.

Where a symbol's next company begins, how a renamed one goes on, what holders got beyond the last price, and what was
presumed and turned out wrong.
"""

import numpy as np
import polars as pl

from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import DelistingSettings

#: Reason, and rule, of a row that takes a delisting back: its ticker trades again.
TRADES_AGAIN = "trades_again"

#: Rules of delistings that nobody stated: the ticker was silent. They may be taken back.
PRESUMED = ("collapse", "unknown")


def with_corrections(delistings: pl.DataFrame) -> pl.DataFrame:
    """One row for each delisting, with the session from which on it is known to have been none.

    A delisting may be presumed, because a ticker is silent, and turn out wrong. It stands until the ticker trades
    again, and a row of its own, known on that day, takes it back.

    Args:
        delistings: `ticker`, `last_session`, `known_at` and `reason` (`sources.base.DELISTINGS`) or `rule` (dataset
            delistings); without either of these none is taken back.

    Returns:
        The delistings in their order, with `trades_again`, null where nothing took them back.

    """
    why = [name for name in ("reason", "rule") if name in delistings.columns]
    key = ["ticker", "last_session"]
    wrong = pl.col(why[0]).eq_missing(pl.lit(TRADES_AGAIN)) if why else pl.lit(False)
    taken_back = delistings.filter(wrong).select(*key, trades_again="known_at").unique(key, maintain_order=True)
    return delistings.filter(~wrong).join(taken_back, on=key, how="left", maintain_order="left")


def with_listing(bars: pl.DataFrame, delistings: pl.DataFrame) -> pl.DataFrame:
    """Tell the companies apart that had a symbol one after the other.

    A bar after a delisting's last session belongs to another company: the symbol was handed on, or new shares replaced
    the old ones. Where the delisting was taken back, the company goes on. A bar's company follows from the bars and
    delistings up to its own session alone.

    Args:
        bars: sorted by `ticker` and `date`, from each ticker's first bar on.
        delistings: `sources.base.DELISTINGS`, all that are known at the last bar.

    Returns:
        The bars in their order with `listed`, the first session of the company's bars.

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
    """Number of each bar's company (Int64), from bars sorted by ticker and date.

    It is the ticker's where there is no `listed`.
    """
    key = pl.struct("ticker", "listed") if "listed" in bars.columns else pl.col("ticker")
    return bars.select(key.rle_id().cast(pl.Int64)).to_series()


def company_day(bars: pl.DataFrame) -> pl.Series:
    """Number of each bar's company and day (Int64), from bars as for `company`.

    24 bits further right it is the company's.
    """
    return company(bars) * 2**24 + bars["date"].to_physical()


def continued(prices: pl.DataFrame, delistings: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Let a renamed company's closes go on under its old symbol: who held it holds it still.

    They are the new symbol's closes, times the ratio of the two at the last session of the old one.

    Args:
        prices: `ticker, date, close`, and `listed`, `unexplained` and `panel_from` where they are there; the new
            symbol's with the bars before the rename.
        delistings: dataset delistings.

    Returns:
        Those columns of the prices, and the delistings `with_corrections`. A rename is no longer among these, but what
        became of the new symbol is; it stays where the prices lack the new symbol, or have it only since a move into
        the sector later on.

    """
    kept_columns = ("ticker", "date", "close", "listed", "unexplained", "panel_from")
    prices = prices.select(pl.selectors.by_name(*kept_columns, require_all=False))
    delistings = with_corrections(delistings).unique(["ticker", "last_session"], maintain_order=True)
    company = ["listed"] if "listed" in prices.columns else []
    for rename in delistings.drop_nulls("successor").sort("known_at", descending=True).iter_rows(named=True):
        old, new = (prices.filter(pl.col("ticker") == symbol) for symbol in (rename["ticker"], rename["successor"]))
        then, in_time = pl.lit(True), pl.lit(True)
        if "panel_from" in prices.columns:  # what moved into the sector later on brought its earlier bars along
            then, in_time = (pl.col("panel_from") <= day for day in (rename["known_at"], pl.col("date")))
        last, base = (rows.filter(pl.col("date") == rename["last_session"], then).head(1) for rows in (old, new))
        if last.is_empty() or base.is_empty():
            continue
        later = new.filter(pl.col("date") >= rename["known_at"])
        later = later.join(base, on=company, how="semi", maintain_order="left") if company else later
        kept = {name: pl.lit(last[name][0]) for name in ("ticker", *company)}
        prices = pl.concat(
            [prices, later.with_columns(close=pl.col("close") * (last["close"][0] / base["close"][0]), **kept)]
        )
        # Not beyond the day on which another company takes the old symbol: from then on its delistings are that one's.
        taken = old.filter(pl.col("date") >= rename["known_at"], in_time)["date"].min()
        follows = (pl.col("ticker") == rename["successor"]) & (pl.col("last_session") >= rename["known_at"])
        if taken is not None:
            follows &= pl.col("last_session") < taken
        done = (pl.col("ticker") == rename["ticker"]) & (pl.col("last_session") == rename["last_session"])
        delistings = pl.concat(
            [delistings.filter(~done), delistings.filter(follows).with_columns(ticker=pl.lit(rename["ticker"]))]
        )
    return prices, delistings


def with_returns(delistings: pl.DataFrame, prices: pl.DataFrame, settings: DelistingSettings) -> pl.DataFrame:
    """Say what each delisting did to its holders, by what was known when it became known (dataset `delistings`).

    The rules, in their order:

    - `takeover`, `renamed`: the provider says so. Holders got what the last price says: 0.
    - `failure`: the provider says so. `failure_return`.
    - `collapse`: the provider gives no reason, and the price had collapsed (see `DelistingSettings`). `failure_return`.
    - `trades_again`: the ticker trades again, and the delisting of this last session is taken back from then on. Null.
    - `unknown`: the return is null, and whoever needs one takes the last price. Nothing is inferred from what happened
      later, and leaving the index is no sign: it ends for takeovers and failures alike.

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
    found = (
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
        delistings.join(found, on=["ticker", "last_session"], how="left")
        .with_columns(rule=rule)
        .with_columns(delisting_return=pl.col("rule").replace_strict(loss, return_dtype=pl.Float64))
        .select(list(DATASETS["delistings"].columns))
        .sort("ticker", "last_session", "known_at")
    )
