"""The orders of each session, from the holdings to the weights in the ledger."""

from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run
from quant_assets.assets.declare import Asset, declared, read
from quant_assets.assets.live import DAILY_ORDERS, DECISIONS, session_days
from quant_assets.assets.trading import asked
from quant_assets.daily_partitions import of_its_month
from quant_assets.errors import LedgerError
from quant_assets.grains import DAY
from quant_assets.io.ledger import unsaid
from quant_assets.market.calendar import sessions
from quant_assets.partitions import month_of, month_start, months_covering, shift_month
from quant_assets.portfolio.history import needs_history
from quant_assets.portfolio.holdings_file import read_holdings
from quant_assets.portfolio.orders import decided_orders, quoted_sessions
from quant_assets.profile import Profile
from quant_assets.settings.live import LiveSettings
from quant_assets.settings.trading import BacktestSettings, OrderSettings
from quant_assets.settings.weights import WeightSettings


def live_order_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """The asset, if a go-live day and `live.orders` are set."""
    settings = profile.settings
    if settings.live.go_live is None or not settings.live.orders:
        return []
    quoted = read(of_its_month(31 * months_covering(quoted_sessions(settings.backtest))))
    month = read(of_its_month())
    reads = {DECISIONS: read(), "positions": month, "backtest": month, "prices": quoted}
    return declared(profile, "live", Asset(DAILY_ORDERS, daily_orders, reads))


def daily_orders(
    run: Run,
    live: LiveSettings,
    settings: OrderSettings,
    costs: BacktestSettings,
    weighing: WeightSettings,
    decisions: pl.LazyFrame,
    positions: pl.LazyFrame,
    backtest: pl.LazyFrame,
    prices: pl.LazyFrame,
) -> pl.DataFrame:
    """Orders of each session of the run, from the file's holdings or the backtest's.

    There are no orders if the sector has no entry at a session, or if its weights are of another session
    (`weights.method` depends on earlier sessions, and the month was decided at another one).

    Raises:
        LedgerError: a day is not a closed session; or it is not the last one, and holdings come from a file, which has
            the present holdings; or other orders are recorded.
        DatasetError: as of `portfolio.orders.decided_orders`.
        SourceError: the file cannot be read; names it and the line.

    """
    empty = run.dataset(DAILY_ORDERS).empty()
    days, parts = session_days(run), [empty]
    earlier = [day for day in days if day < run.last_session]
    if live.holdings and earlier:
        raise LedgerError(
            f"{live.holdings} has the holdings of now, not those at the close of {earlier[0]}: it gives orders of "
            f"the last session only ({run.last_session}); remove live.holdings to use the holdings of the backtest"
        )
    by_folder: dict[str, dict[str, pl.DataFrame]] = {}
    for sector in run.sectors:
        name = live.holdings.replace("{sector}", sector)
        held = read_holdings(Path(name)) if name else None
        of = by_folder.setdefault(sector, {})
        for day in days:
            rows = _of_day(sector, day, decisions, positions, backtest, prices, held, settings, costs, weighing)
            if rows is None:
                run.tell_log(
                    f"{sector} {day}: no orders, because no weights were decided at this session", warning=True
                )
                continue
            late = len(sessions(day, run.last_session)) - 1
            rows = rows.with_columns(
                date=pl.lit(day),
                sector=pl.lit(sector),
                held_by=pl.lit("backtest" if held is None else "file"),
                late=pl.lit(late, pl.Int32),
            ).select(empty.columns)
            parts.append(rows)
            of[f"daily/{sector}/{day}"] = rows
            run.tell(sector, DAY.of(day), {**asked(rows), "late_sessions": late})
    orders_of_run = pl.concat(parts)
    # Before the export: files must not differ from recorded orders.
    unsaid(run.store, run.dataset(DAILY_ORDERS), orders_of_run, run.partitions.keys)
    for sector, of in by_folder.items():
        run.tell_orders(sector, of)
    return orders_of_run


def _of_day(
    sector: str,
    day: date,
    decisions: pl.LazyFrame,
    positions: pl.LazyFrame,
    backtest: pl.LazyFrame,
    prices: pl.LazyFrame,
    holdings: dict[str, float] | None,
    settings: OrderSettings,
    costs: BacktestSettings,
    weighing: WeightSettings,
) -> pl.DataFrame | None:
    """Orders of a sector and session; None if no weights were decided at it."""
    own = pl.col("sector") == sector
    quoted = sessions(month_start(shift_month(month_of(day), -months_covering(quoted_sessions(costs)))), day)
    told, held, result = pl.collect_all(
        [each.filter(own, pl.col("date") == day) for each in (decisions, positions, backtest)]
    )
    weights = told.filter(pl.col("item") == "weight").select("ticker", as_of="date", weight="value")
    if told.is_empty() or (weights.is_empty() and needs_history(weighing)):
        return None
    names = sorted({*weights["ticker"], *held["ticker"], *(holdings or {})})
    since = quoted[-quoted_sessions(costs) :][0].item()
    bars = prices.filter(own, pl.col("ticker").is_in(names), pl.col("date").is_between(since, day)).collect()
    return decided_orders(weights, held, result, bars, quoted, day, settings.capital, settings, costs, holdings)
