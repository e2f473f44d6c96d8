"""Companies of the `files` provider that changed their symbol: which rows are theirs, and under which symbol."""

from collections.abc import Collection, Sequence
from datetime import date, timedelta

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.market import calendar
from quant_assets.settings.symbols import Rename
from quant_assets.sources.files_columns import MAPPING


def symbols_of_companies(renames: Sequence[Rename], silent_sessions: int) -> pl.DataFrame:
    """Which symbols' bars are those of a ticker that was renamed or that a rename led to.

    A symbol that was given up is another company's once nothing of the old one can be confused with it, which is after
    `silent_sessions` sessions.

    Returns:
        Columns `asked, ticker, first, last, place`.

    """
    after = {each.old: each for each in renames}
    before = {each.new: each for each in renames}
    rows = []
    for asked in sorted({*after, *before}):
        chain = [asked]
        while chain[0] in before:
            chain.insert(0, before[chain[0]].old)
        while chain[-1] in after:
            chain.append(after[chain[-1]].new)
        end = after[asked].since if asked in after else None
        for place, symbol in enumerate(chain):
            ends = [day for day in (end, after[symbol].since if symbol in after else None) if day]
            rows.append((asked, symbol, date.min, min(ends) - timedelta(days=1) if ends else date.max, place))
        if end:
            later = calendar.sessions(end, date.max)[silent_sessions:]
            rows += [(asked, asked, day, date.max, 0) for day in later[:1].tolist()]
    schema = {"asked": pl.String, "ticker": pl.String, "first": pl.Date, "last": pl.Date, "place": pl.Int64}
    return pl.DataFrame(rows, schema, orient="row")


def refuse_lost(
    renames: Sequence[Rename], tickers: Collection[str], there: Collection[str], through: date, files: str
) -> None:
    """Raise an error for a rename to a company without bars, as the old symbol would end silently.

    Args:
        renames: of companies.
        tickers: requested ones.
        there: tickers with bars.
        through: later renames are ignored.
        files: names of the price files, for the message.

    Raises:
        SourceError: names the ticker and the files.

    """
    after = {rename.old: rename.new for rename in renames}
    for rename in renames:
        later = [rename.new]
        while later[-1] in after:
            later.append(after[later[-1]])
        if (
            rename.old in tickers
            and rename.old in there
            and rename.since <= through
            and not set(there).intersection(later)
        ):
            raise SourceError(
                f"{rename.old} was renamed to {rename.new} on {rename.since}, but {files} have no bars of it; "
                f"fix {MAPPING}"
            )


def company_bars(bars: pl.LazyFrame, symbols: pl.DataFrame) -> pl.LazyFrame:
    """Bars of renamed companies, under each of their symbols up to the day on which it was given up.

    If a file has several on one day, the earliest symbol counts, which was the current one.
    """
    return (
        bars.join(symbols.lazy(), on="ticker", maintain_order="left")
        .filter(pl.col("date").is_between("first", "last"))
        .filter(pl.col("place") == pl.col("place").min().over("asked", "date"))
        .with_columns(ticker="asked")
        .drop("asked", "first", "last", "place")
    )


def company_snapshots(rows: pl.DataFrame, symbols: pl.DataFrame, renames: Sequence[Rename]) -> pl.DataFrame:
    """Sector snapshots, a renamed company's under each of its symbols, with `since` if a rename begins the symbol."""
    first = pl.col("known_at") == pl.col("known_at").min().over("asked")
    known = (pl.col("known_at") >= pl.col("first")) & ((pl.col("known_at") <= pl.col("last")) | first)
    plain, others = _under_every_symbol(rows, symbols, known)
    others = others.filter(pl.col("place") == pl.col("place").min().over("ticker", "known_at"))  # the symbol then
    begins = pl.DataFrame(
        [(each.new, each.since) for each in renames], {"ticker": pl.String, "since": pl.Date}, orient="row"
    )
    return (
        pl.concat([plain, others.select(plain.columns)])
        .join(begins, on="ticker", how="left", maintain_order="left")
        .sort("ticker", "known_at", maintain_order=True)
    )


def company_statements(rows: pl.DataFrame, symbols: pl.DataFrame, undated_after: int) -> pl.DataFrame:
    """Statements, a renamed company's under each of its symbols, with renumbered versions.

    While a company used a symbol and had statements under it, statements under its later symbols belonged to another
    company. Of two statements of a period, the one under the earlier symbol counts from its publication on.
    """
    plain, others = _under_every_symbol(
        rows, symbols, pl.coalesce("published", "period_end").is_between("first", "last")
    )
    series, period = ["ticker", "provider", "frequency"], ["period_end", "frequency", "provider"]
    others = others.with_row_index()
    others = others.with_columns(
        usable=pl.coalesce("published", pl.col("period_end") + pl.duration(days=undated_after))
    )
    used = others.group_by(*series, before="place", until="last").agg(since=pl.col("usable").min())
    strange = others.join(used, on=series).filter(
        pl.col("before") < pl.col("place"), pl.col("usable").is_between("since", "until")
    )
    counting = pl.col("place") == pl.col("place").cum_min().over("ticker", *period)
    others = others.join(strange, on="index", how="anti").sort("usable", "place").filter(counting)
    companies = pl.concat(
        [
            plain.with_columns(place=0).select(*plain.columns, pl.col("place").cast(pl.Int64)),
            others.select(*plain.columns, "place"),
        ]
    )
    companies = companies.sort("ticker", *period, "place", "version", descending=[False] * 4 + [True, False])
    return companies.drop("place").with_columns(version=pl.int_range(pl.len(), dtype=pl.Int32).over("ticker", *period))


def _under_every_symbol(rows: pl.DataFrame, symbols: pl.DataFrame, known: pl.Expr) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of tickers with one symbol only, and rows of the others that were `known` in time.

    The latter are repeated under every symbol, with the columns of `symbols`.
    """
    plain = rows.join(symbols, left_on="ticker", right_on="asked", how="anti", maintain_order="left")
    others = rows.join(symbols, on="ticker", maintain_order="left").filter(known)
    return plain, others.with_columns(ticker="asked")
