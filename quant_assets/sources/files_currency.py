"""Currencies of the `files` provider: one per ticker's prices; statements in others are converted or left out."""

from collections.abc import Callable, Mapping

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.providers import FundamentalFile, PriceFile
from quant_assets.sources.files_columns import MAPPING
from quant_assets.sources.files_rates import Rates, converted
from quant_assets.sources.files_report import FilesReport


def currencies_of(file: PriceFile, rows: pl.LazyFrame, usual: str) -> pl.LazyFrame:
    """Distinct `ticker` and `currency` of the bars of a price file.

    Args:
        file: their entry in the settings.
        rows: with `ticker` and, if the file has it, `currency`.
        usual: default currency.

    """
    if "currency" in file.columns:
        rows = rows.with_columns(pl.col("currency").fill_null(usual))
    else:
        rows = rows.with_columns(currency=pl.lit(file.currency or usual))
    return rows.select("ticker", "currency").unique().drop_nulls()


def price_currencies(found: Mapping[str, pl.DataFrame], *, strict: bool = True) -> pl.DataFrame:
    """The currency of each ticker's prices.

    Args:
        found: `ticker` and `currency` of the bars of each price file, by the name of its provider, the best first.
        strict: whether two currencies of a ticker are an error; otherwise the first one counts.

    Returns:
        `ticker` and `currency`, a row for each ticker.

    Raises:
        SourceError: prices of a ticker are in two currencies; names it, both, and the providers.

    """
    schema = pl.Schema({"ticker": pl.String, "currency": pl.String, "provider": pl.String})
    every = pl.concat(
        [schema.to_frame(), *(each.unique().with_columns(provider=pl.lit(name)) for name, each in found.items())]
    )
    mixed = every.filter(pl.col("currency").n_unique().over("ticker") > 1).sort("ticker", "currency", "provider")
    if strict and len(mixed):
        ticker = mixed["ticker"][0]
        told = [f"{row[1]} ({row[2]})" for row in mixed.filter(pl.col("ticker") == ticker).rows()]
        raise SourceError(
            f"prices of ticker {ticker} are in {' and in '.join(told)}; one series must be in one currency: leave "
            f"out the others with where or not_the_member in {MAPPING}"
        )
    return every.unique("ticker", keep="first", maintain_order=True).select("ticker", "currency")


def in_price_currency(
    file: FundamentalFile,
    rows: pl.DataFrame,
    prices: pl.DataFrame,
    usual: str,
    rates: Callable[[], Rates | None],
    report: FilesReport,
) -> pl.DataFrame:
    """Statements of the entry in the currency of their ticker's prices, without their column `currency`.

    Statements in another currency are converted, or left out without a rate, because ratios to prices would be wrong.
    Statements of a ticker without prices stay, as the currency of its prices is not known.

    Args:
        file: of the statements.
        rows: with `ticker` and, if the file has it, `currency`.
        prices: of `price_currencies`, from the unaltered files.
        usual: default currency of a file.
        rates: returns the rates, called only if needed; None if the settings name none.
        report: counts the rows that are left out.

    """
    rows, own = report.own(file, rows), pl.lit(file.currency or usual)
    told = pl.coalesce("currency", own) if "currency" in rows.columns else own
    rows = rows.with_columns(currency=told).join(
        prices.rename({"currency": "of_prices"}), on="ticker", how="left", maintain_order="left"
    )
    other = (pl.col("currency") != pl.col("of_prices")).fill_null(False)
    reason, both = "are in another currency than the prices of their ticker", ("currency", "of_prices")
    given = rates() if rows.select(other.any()).item() else None
    if given is None:
        lacking = f"{reason}, and files.rates names no file of rates"
        return report.leave_out(file, rows, other, lacking, "ticker", "currency").drop(both)
    place = "__place"
    rows = rows.with_row_index(place)
    foreign = converted(file, rows.filter(other), given)
    every = pl.concat([rows.filter(~other).with_columns(without_rate=pl.lit(False)), foreign]).sort(place)
    every = every.with_columns(pair=pl.format("{} to {}", "currency", "of_prices"))
    lacking = f"{reason}, and {given.file.file} has no rate for them"
    kept = report.leave_out(file, every, pl.col("without_rate"), lacking, "ticker", "period_end", "pair")
    report.count(
        file, kept.filter(other), f"are converted into the currency of prices by {given.file.file}", "ticker", "pair"
    )
    return kept.select(*rows.columns).drop(place, *both)
