"""`python -m benchmarks.optimisers FOLDER`: every optimiser on real prices, long-only and dollar-neutral, as a table.

FOLDER holds `prices_sp500_adjusted.parquet` (ticker, date, high, low, close, volume) and `securities.parquet` (ticker,
sector, as_of). Nothing is stored and the graph does not run: candidates are the 30 % of each sector with the highest
and the lowest return of the twelve months before the last one (momentum), at each month's last session, among names
with a year of prices; weights and simulation are the project's own, and the sectors have equal shares of the capital.

Each row is simulated four times: with a flat cost, and with itemised costs (the defaults of `backtest.*`) for books of
1, 10 and 100 million USD. Itemised costs include the borrow fee of shorts.

The prices are of the index members of 2025, so survivorship makes all returns too high; only the comparison of rows
counts. The risk-free rate is 0. It takes fifteen minutes of one core, mostly the solver's; `--into` stores the decided
weights.
"""

import argparse
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from quant_assets.backtest.capacity import Capacity, by_capital
from quant_assets.backtest.intervals import bootstrap_interval
from quant_assets.backtest.metrics import max_drawdown, sharpe
from quant_assets.backtest.simulation import simulate
from quant_assets.backtest.statistics import Moments, deflated_sharpe_ratio
from quant_assets.market.calendar import decision_sessions, sessions
from quant_assets.portfolio.history import History, lookback_sessions
from quant_assets.portfolio.optimisers import OPTIMISERS
from quant_assets.portfolio.weights import sector_weights
from quant_assets.settings.trading import BacktestSettings
from quant_assets.settings.weights import Book, ConstraintSettings, WeightSettings

BOOKS: tuple[Book, ...] = ("long_only", "dollar_neutral")
FRACTION, HORIZON, SEED = 0.3, 20, 20_240_601
FLAT, ITEMISED = BacktestSettings(cost_bps=10.0), BacktestSettings(costs="itemised")
#: Sizes of the book in USD.
CAPITALS = (1e6, 1e7, 1e8)
#: Sessions before the first decision: the covariance's window and the momentum's.
WARM_UP = 420


def read(folder: Path, first: date, last: date) -> dict[str, tuple[pl.DataFrame, pl.DataFrame]]:
    """The required columns of each sector's datasets prices and indicators."""
    days = sessions(date(first.year - 2, first.month, 1), last)
    newest = pl.read_parquet(folder / "securities.parquet").filter(pl.col("as_of") == pl.col("as_of").max())
    names = ["ticker", "date", "high", "low", "close", "volume"]
    bars = pl.read_parquet(folder / "prices_sp500_adjusted.parquet", columns=names).with_columns(
        pl.col("high", "low", "close", "volume").cast(pl.Float64)
    )
    bars = bars.filter(pl.col("date").is_between(days[0].item(), last)).sort("ticker", "date")
    close, daily = pl.col("close"), pl.col("close").pct_change()
    bars = bars.with_columns(
        momentum=(close.shift(21) / close.shift(252) - 1.0).over("ticker"),
        garch_volatility=(daily.rolling_std(60) * np.sqrt(252)).over("ticker"),
        median_volume=(close * pl.col("volume")).rolling_median(20).over("ticker"),
        dollar_volume=close * pl.col("volume"),
        panel_from="date",
        unexplained=pl.lit(False),
    )
    sectors = {}
    for (sector,), rows in (
        newest.select("ticker", "sector").unique("ticker").sort("sector").group_by("sector", maintain_order=True)
    ):
        part = bars.join(rows, on="ticker", how="semi").sort("ticker", "date")
        sectors[str(sector)] = (
            part.select("ticker", "date", "high", "low", "close", "dollar_volume", "panel_from", "unexplained"),
            part.select("ticker", "date", "momentum", "garch_volatility", dollar_volume="median_volume").drop_nulls(
                "garch_volatility"
            ),
        )
    return sectors


def candidates(indicators: pl.DataFrame, as_ofs: list[date]) -> pl.DataFrame:
    """The best and worst names by momentum at each decision, with a composite score in deviations."""
    value = pl.col("momentum")
    rows = indicators.filter(pl.col("date").is_in(as_ofs)).drop_nulls("momentum")
    rows = rows.with_columns(
        composite_score=((value - value.mean()) / value.std()).over("date"),
        place=value.rank("ordinal").over("date"),
        count=(pl.len() * FRACTION).floor().over("date"),
        names=pl.len().over("date"),
    )
    side = (
        pl.when(pl.col("place") > pl.col("names") - pl.col("count"))
        .then(pl.lit("long"))
        .when(pl.col("place") <= pl.col("count"))
        .then(pl.lit("short"))
    )
    chosen = rows.with_columns(candidate_type=side).drop_nulls(["candidate_type", "composite_score"])
    return chosen.select("ticker", "composite_score", "candidate_type", as_of="date").sort("ticker", "as_of")


def decided(
    sectors: dict[str, tuple[pl.DataFrame, pl.DataFrame]], settings: WeightSettings, as_ofs: list[date]
) -> pl.DataFrame:
    """Weights of the sectors together, each with the same share of the capital."""
    none = pl.DataFrame(schema={"ticker": pl.String, "date": pl.Date, "horizon": pl.Int32, "prediction": pl.Float64})
    before = sessions(date(as_ofs[0].year - 2, as_ofs[0].month, 1), as_ofs[-1])
    weights = []
    for prices, indicators in sectors.values():
        universe = prices.select("ticker", "date")
        history = History(prices, universe, indicators, before) if lookback_sessions(settings) else None
        weights.append(sector_weights(candidates(indicators, as_ofs), none, indicators, as_ofs, settings, history))
    return pl.concat(weights).with_columns(pl.col("weight") / len(sectors))


@dataclass(frozen=True)
class Row:
    """Daily result with the flat cost, and results with itemised costs by size of the book."""

    result: pl.DataFrame
    capacity: list[Capacity]


def simulated(weights: pl.DataFrame, prices: pl.DataFrame, as_ofs: list[date], last: date) -> Row:
    """The result of weights from the month after the first decision on."""
    days = sessions(date(as_ofs[0].year - 1, 1, 1), last)
    begin = date(as_ofs[0].year + as_ofs[0].month // 12, as_ofs[0].month % 12 + 1, 1)
    inputs = (weights, prices, days, as_ofs, begin, last)
    result = simulate(*inputs, entry_lag=1, settings=FLAT)
    return Row(result, by_capital(*inputs, CAPITALS, entry_lag=1, settings=ITEMISED))


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--into", type=Path, help="store decided weights there; stored ones are not computed again")
    parser.add_argument("--from", dest="first", default="2009-12", help="month of the first decision [2009-12]")
    parser.add_argument("--to", dest="last", default="2025-09", help="last month [2025-09]")
    parser.add_argument("--sector", action="append", help="some of the file's sectors only, such as 'Energy'")
    parser.add_argument("--method", action="append", choices=list(OPTIMISERS), help="some of them only")
    args = parser.parse_args(arguments)
    first, last = date.fromisoformat(f"{args.first}-01"), date.fromisoformat(f"{args.last}-28")
    every_sector, as_ofs = read(args.folder, first, last), decision_sessions(first, last)
    if unknown := sorted(set(args.sector or ()) - set(every_sector)):
        parser.error(f"no sector '{unknown[0]}'; there are {', '.join(every_sector)}")
    sectors = {name: every_sector[name] for name in args.sector or every_sector}
    every = pl.concat([prices for prices, _ in sectors.values()])
    rows: dict[tuple[str, str], Row] = {}
    for book in BOOKS:
        for method in args.method or OPTIMISERS:
            of = "".join(f"{name}_" for name in args.sector or ())
            file = None if args.into is None else args.into / f"{of}{book}_{method}_{args.first}_{args.last}.parquet"
            if file is not None and file.exists():
                weights = pl.read_parquet(file)
            else:
                limits = ConstraintSettings(infeasible="cash")
                weights = decided(
                    sectors, WeightSettings(method=method, book=book, horizon=HORIZON, constraints=limits), as_ofs
                )
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                weights.write_parquet(file)
            rows[book, method] = simulated(weights, every, as_ofs, last)
    Console(width=200).print(table(rows))
    return 0


def table(rows: dict[tuple[str, str], Row]) -> Table:
    """A row for each optimiser and book; the deflated Sharpe ratio counts the rows of the book as trials."""
    shown = Table(title="Net of costs, all sectors alike; Sharpe ratios per year, with 95 % intervals (bootstrap)")
    heads = ("book", "method", "return", "volatility", "gross Sharpe", "net Sharpe", "interval", "DSR", "drawdown")
    sizes = [f"net Sharpe of {capital / 1e6:.0f} m" for capital in CAPITALS]
    for head in (*heads, "turnover", "borrow fee", *sizes):
        shown.add_column(head, justify="left" if head in ("book", "method") else "right")
    nets = {name: row.result["net_return"].to_numpy() for name, row in rows.items()}
    for (book, method), row in rows.items():
        result = row.result
        net = nets[book, method]
        ratios = [float(values.mean() / values.std(ddof=1)) for (of, _), values in nets.items() if of == book]
        spread = float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0
        moments = Moments.of(net)
        deflated = np.nan if moments is None else deflated_sharpe_ratio(moments, len(ratios), spread)
        low, high = bootstrap_interval(net, "sharpe", 1_000, SEED) or (np.nan, np.nan)
        shown.add_row(
            book,
            method,
            f"{net.mean() * 252:.1%}",
            f"{net.std(ddof=1) * np.sqrt(252):.1%}",
            f"{sharpe(result['gross_return'].to_list()):.2f}",
            f"{sharpe(net.tolist()):.2f}",
            f"{low * np.sqrt(252):.2f} to {high * np.sqrt(252):.2f}",
            f"{deflated:.3f}",
            f"{max_drawdown(net.tolist()):.0%}",
            f"{result['turnover'].sum() / (len(result) / 252):.1f}",
            f"{row.capacity[0].terms['borrow']:.2%}",
            *("-" if size.sharpe is None else f"{size.sharpe:.2f}" for size in row.capacity),
        )
    return shown


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
