"""Body of `quant sleeves`: equities, crypto and cash at a month's decision, stored or computed. Writes no dataset."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from rich.table import Table

from quant_assets.errors import SourceError
from quant_assets.exports import SLEEVE_FILE, export_sleeves, sleeve_document, write_document
from quant_assets.market.calendar import sessions
from quant_assets.market.crypto import sleeve_returns
from quant_assets.partitions import RunPartitions, month_range, month_start, months_covering, shift_month
from quant_assets.portfolio.sleeves import allocate, drifted
from quant_assets.profile import Profile


def stored(profile: Profile, month: str) -> Iterator[str | Table]:
    """Lines and the table of a stored month of dataset sleeve_allocation.

    Args:
        profile: its storage is read.
        month: of the decision.

    Raises:
        MissingPartitionError: the month has not been run.

    """
    rows = profile.store.read(profile.datasets["sleeve_allocation"], [month]).collect()
    for row in rows.iter_rows(named=True):
        done = "rebalanced" if row["rebalanced"] else "nothing is traded"
        yield f"decided at {row['as_of']}: {row['reason']}; {done}; exposure {row['multiplier']:g}"
        shares = {name: row[name] for name in ("equities", "crypto", "cash")}
        held = None if row["held_equities"] is None else (row["held_equities"], row["held_crypto"])
        yield _table(shares, held, (row["equity_volatility"], row["crypto_volatility"]))
        if row["crypto_risk"] is not None:
            yield f"crypto's share of the variance: {row['crypto_risk']:.3f}"
        yield f"file: {export_sleeves(profile.store, row, profile.settings.sleeves.threshold)}"


def output(profile: Profile, month: str, crypto: Path, multiplier: float) -> Iterator[str | Table]:
    """Lines and the table of an allocation with the bars of a file.

    Args:
        profile: its storage is read.
        month: of the decision.
        crypto: file of bars.
        multiplier: the regime's exposure.

    Raises:
        SourceError: the file cannot be read or lacks a column.
        MissingPartitionError: the total portfolio has not been run.
        DatasetError: the file repeats a day, or a close is not positive.

    """
    settings = profile.settings.sleeves
    bars = read_bars(crypto)
    window = max(settings.volatility_sessions, settings.mean_sessions if settings.method == "mvo_reg" else 0)
    first = max(shift_month(month, -months_covering(window + 1)), profile.months.start)
    as_of = profile.decision_sessions(RunPartitions((), (month,)))[0]
    rows = profile.store.read(profile.datasets["portfolio_backtest"], month_range(first, month)).collect()
    days = sessions(month_start(first), as_of)
    returns = pl.DataFrame({"date": days}).join(rows.select("date", "net_return"), on="date", how="left")
    equity = returns["net_return"].fill_null(np.nan).to_numpy()
    coins = sleeve_returns(bars.filter(pl.col("date") <= as_of), settings.coins, days)
    held = _held(profile, shift_month(month, -1), days, equity, coins)
    allocation = allocate(equity, coins, multiplier, settings, held)
    shares = {"equities": allocation.equities, "crypto": allocation.crypto, "cash": allocation.cash}
    yield f"decided at {as_of}: {allocation.reason}; {'rebalanced' if allocation.rebalanced else 'nothing is traded'}"
    yield _table(shares, held, (allocation.equity_volatility, allocation.crypto_volatility))
    if allocation.crypto_risk is not None:
        yield f"crypto's share of the variance: {allocation.crypto_risk:.3f} of at most {settings.crypto_risk_budget:g}"
    figures = {
        "equity_volatility": allocation.equity_volatility,
        "crypto_volatility": allocation.crypto_volatility,
        "estimated_portfolio_volatility": allocation.portfolio_volatility,
    }
    document = sleeve_document(shares, settings.method, as_of, figures, settings.threshold)
    yield f"file: {write_document(profile.store, SLEEVE_FILE.format(month=month), document)}"


def _table(
    shares: dict[str, float], held: tuple[float, float] | None, volatilities: tuple[float | None, float | None]
) -> Table:
    table = Table()
    for name in ("sleeve", "share", "held", "volatility"):
        table.add_column(name, justify="left" if name == "sleeve" else "right")
    before = ("-", "-") if held is None else (f"{held[0]:.4f}", f"{held[1]:.4f}")
    for (name, share), was, sigma in zip(shares.items(), (*before, "-"), (*volatilities, None), strict=True):
        table.add_row(name, f"{share:.4f}", was, "-" if sigma is None else f"{sigma:.2%}")
    return table


def read_bars(path: Path) -> pl.DataFrame:
    """`ticker, date, close` of a Parquet file.

    Raises:
        SourceError: the file cannot be read, or has no such column or type.

    """
    try:
        rows = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SourceError(f"{path} cannot be read ({str(error).splitlines()[0][:120]})") from None
    missing = [name for name in ("ticker", "date", "close") if name not in rows.columns]
    if missing:
        raise SourceError(f"{path} has no column '{missing[0]}'; bars of UTC days need ticker, date and close")
    try:
        return rows.select(
            pl.col("ticker").cast(pl.String), pl.col("date").cast(pl.Date), pl.col("close").cast(pl.Float64)
        )
    except pl.exceptions.PolarsError as error:
        raise SourceError(f"{path}: {str(error).splitlines()[0][:120]}; dates and numbers are needed") from None


def _held(
    profile: Profile, month: str, days: np.ndarray, equity: np.ndarray, coins: np.ndarray
) -> tuple[float, float] | None:
    """The shares in the file of the previous month, after their drift; None without that file."""
    try:
        document = json.loads(profile.store.read_file(f"exports/{SLEEVE_FILE.format(month=month)}"))
    except FileNotFoundError:
        return None
    later = days > np.datetime64(date.fromisoformat(document["date"]))
    grown = [float(np.prod(1.0 + np.nan_to_num(returns[later]))) - 1.0 for returns in (equity, coins)]
    shares = document["allocation"]
    return drifted((shares["equities"], shares["crypto"]), *grown)
