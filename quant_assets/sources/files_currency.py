"""Currencies of the `files` provider: prices of a ticker are in one, and statements in another one are left out."""

from collections.abc import Mapping

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.providers import FundamentalFile
from quant_assets.sources.files_columns import MAPPING
from quant_assets.sources.files_report import FilesReport


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
            f"prices of ticker {ticker} are in {' and in '.join(told)}; one series is in one currency: leave the "
            f"others out with where or not_the_member in {MAPPING}"
        )
    return every.unique("ticker", keep="first", maintain_order=True).select("ticker", "currency")


def in_price_currency(
    file: FundamentalFile, rows: pl.DataFrame, prices: pl.DataFrame, usual: str, report: FilesReport
) -> pl.DataFrame:
    """Statements of the entry that are in the currency of their ticker's prices, without their column `currency`.

    Their ratios to prices would be wrong by the rate of exchange. Where a ticker has no prices they stay: which ones it
    will have is not known then.

    Args:
        file: whose statements they are.
        rows: with `ticker` and, where the file has it, `currency`.
        prices: of `price_currencies`, from the files as they are: the currency of a listing that is still to come.
        usual: where a file tells none.
        report: what is left out is counted there.

    """
    rows, own = report.own(file, rows), pl.lit(file.currency or usual)
    told = pl.coalesce("currency", own) if "currency" in rows.columns else own
    rows = rows.with_columns(currency=told).join(
        prices.rename({"currency": "of_prices"}), on="ticker", how="left", maintain_order="left"
    )
    other = pl.col("currency") != pl.col("of_prices")
    reason = "are in another currency than the prices of their ticker"
    return report.leave_out(file, rows, other, reason, "ticker", "currency").drop("currency", "of_prices")
