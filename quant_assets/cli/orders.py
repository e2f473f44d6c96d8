"""Body of `quant orders`: orders from holdings (of a file or the backtest) to a month's weights. Writes no dataset."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
from rich.table import Table

from quant_assets.errors import MissingPartitionError, SettingsError
from quant_assets.exports import export_orders, halt_reason, order_files
from quant_assets.market.calendar import sessions
from quant_assets.partitions import RunPartitions, key, month_range, month_start, months_covering, shift_month
from quant_assets.portfolio.holdings_file import read_holdings
from quant_assets.portfolio.orders import decided_orders, quoted_sessions
from quant_assets.profile import Profile
from quant_assets.settings.sectors import SECTORS


def output(
    profile: Profile,
    sector: str | None,
    month: str,
    capital: float | None,
    holdings: Path | None,
    export: Path | None,
) -> Iterator[str | Table]:
    """Lines and the table of the command.

    Args:
        profile: its storage is read.
        sector: slug; None for the total portfolio.
        month: of the decision.
        capital: USD; None for that of the settings.
        holdings: file; None for the positions of the sector's backtest.
        export: folder of the files; None for the exports of the storage.

    Raises:
        SettingsError: orders are halted, or the total portfolio has no holdings file.
        DatasetError: a holding cannot be valued, or the positions differ from the backtest.
        SourceError: the file cannot be read; names it and the line.
        MissingPartitionError: the month has not been run.

    """
    settings = profile.settings
    if reason := halt_reason(profile.store, settings.orders.halted):
        raise SettingsError(f"no orders are written: {reason}")
    if sector is None and holdings is None:
        raise SettingsError("the total portfolio has no positions of its own; pass --holdings, or one --sector")
    held = None if holdings is None else read_holdings(holdings)
    equity = settings.orders.capital if capital is None else capital
    months = months_covering(quoted_sessions(settings.backtest))
    first = max(shift_month(month, -months), profile.months.start)
    as_of = profile.decision_sessions(RunPartitions((sector,) if sector else (), (month,)))[0]
    of = month if sector is None else key(sector, month)
    weights = profile.store.read(profile.datasets["weights" if sector else "portfolio_weights"], [of]).collect()
    positions, backtest = (profile.datasets[name].empty() for name in ("positions", "backtest"))
    if held is None:
        positions, backtest = (
            profile.store.read(profile.datasets[name], [of]).collect() for name in ("positions", "backtest")
        )
    wanted = [*weights["ticker"], *(held or positions["ticker"])]
    prices = _prices(profile, [sector] if sector else list(SECTORS), month_range(first, month), wanted)
    days = sessions(month_start(first), as_of)
    orders = decided_orders(
        weights, positions, backtest, prices, days, as_of, equity, settings.orders, settings.backtest, held
    )
    yield f"{sector or 'total portfolio'}, decided at {as_of}, for {equity:,.0f} USD"
    yield _table(orders)
    traded = orders.filter(pl.col("action") != "hold")
    unknown = traded["estimated_cost"].null_count()
    yield (
        f"{len(traded)} orders over {traded['notional'].sum():,.0f} USD, estimated cost "
        f"{traded['estimated_cost'].sum():,.0f} USD" + (f" (unknown for {unknown})" if unknown else "")
    )
    if export is None:
        where = export_orders(profile.store, f"{sector or 'portfolio'}/{as_of}", orders, equity, settings.orders.halted)
        yield f"files: {', '.join(where)}"
        return
    export.mkdir(parents=True, exist_ok=True)
    for name, content in order_files(orders, equity).items():
        partial = export / f".{name}.partial"
        partial.write_bytes(content)
        partial.replace(export / name)
    yield f"files in {export}"


def _prices(profile: Profile, sectors: list[str], months: list[str], tickers: list[str]) -> pl.DataFrame:
    dataset = profile.datasets["prices"]
    existing = profile.store.existing(dataset)
    keys = [partition for sector in sectors for month in months if (partition := key(sector, month)) in existing]
    if not keys:
        raise MissingPartitionError(
            f"no prices of {months[0]} to {months[-1]} are stored in {profile.store.url}; "
            f"run: quant run --profile {profile.settings.profile} --to {months[-1]}"
        )
    rows = profile.store.read(dataset, keys).filter(pl.col("ticker").is_in(tickers)).collect()
    return rows.drop("sector", "month").unique(maintain_order=True)


def _table(rows: pl.DataFrame) -> Table:
    table = Table()
    for name in ("ticker", "action", "quantity", "price", "notional", "held", "target", "weight", "cost", "reason"):
        table.add_column(name, justify="left" if name in ("ticker", "action", "reason") else "right")
    for row in rows.iter_rows(named=True):
        table.add_row(
            row["ticker"],
            row["action"],
            f"{row['quantity']:,.0f}",
            _text(row["price"], ",.2f"),
            _text(row["notional"], ",.0f"),
            _text(row["held_quantity"], ",.0f"),
            _text(row["target_quantity"], ",.0f"),
            f"{row['target_weight']:.4f}",
            _text(row["estimated_cost"], ",.2f"),
            row["reason"],
        )
    return table


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
