"""`python -m benchmarks.repairs [--data FOLDER]`: detection and repair of planted faults by the rules for prices.

Each series gets one fault, by a seed, in random walks with real jumps, or with `--data` in clean stretches of
`prices_sp500_raw.parquet` in FOLDER. It is passed to `market.bars.company_bars` alone and with a second provider of
correct adjusted prices. *Found*: a row of quarantine or price_events on a day of the fault, or an unused open. *Level
right*: two sessions after the fault the ratio of the adjusted close to the one before it is within 1 % of the true one.
*False*: a row on any other day, by action.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from quant_assets.market import calendar
from quant_assets.market.bars import company_bars
from quant_assets.settings.domain import BarSettings
from quant_assets.sources.base import BARS, DELISTINGS

SESSIONS, MARGIN = 260, 40
DAYS = calendar.sessions(date(2010, 1, 1), date(2011, 12, 31))[:SESSIONS]
PRICES = ("open", "high", "low", "close")

Arrays = dict[str, NDArray[np.float64]]
#: Changes a series from a session on and returns the sessions of the fault, the last one included.
Fault = Callable[[np.random.Generator, Arrays, int, Arrays], int]


@dataclass(frozen=True)
class Planted:
    """A series with its fault, the true series (`level` is its total-return level), and the sessions of the fault."""

    kind: str
    given: Arrays
    truth: Arrays
    first: int
    last: int


def _scale(bars: Arrays, days: slice, price: float, volume: float = 1.0) -> None:
    for name in PRICES:
        bars[name][days] *= price
    bars["volume"][days] *= volume


def _size(rng: np.random.Generator) -> float:
    return float(np.exp(rng.choice([-1.0, 1.0]) * rng.uniform(np.log(1.6), np.log(30.0))))


def _bad_day(rng: np.random.Generator, bars: Arrays, t: int, other: Arrays) -> int:
    _scale(bars, slice(t, t + 1), _size(rng))
    return t


def _split_for_a_day(rng: np.random.Generator, bars: Arrays, t: int, other: Arrays) -> int:
    ratio = float(rng.choice([2, 3, 4, 5, 10, 20, 0.5, 0.1, 0.05]))
    _scale(bars, slice(t, t + 1), 1.0 / ratio, ratio)
    return t


def _excursion(rng: np.random.Generator, bars: Arrays, t: int, other: Arrays) -> int:
    last = t + int(rng.integers(1, 5))
    ratio = float(rng.choice([2, 4, 5, 20, 0.25, 0.1, _size(rng)]))
    _scale(bars, slice(t, last + 1), 1.0 / ratio, ratio if rng.random() < 0.5 else 1.0)
    return last


def _split(ratios: tuple[float, ...]) -> Fault:
    def plant(rng: np.random.Generator, bars: Arrays, t: int, other: Arrays) -> int:
        ratio = float(rng.choice(ratios))
        _scale(bars, slice(t, None), 1.0 / ratio, ratio)
        bars["paid"][t:] *= 1.0 / ratio
        return t

    return plant


def _flag_moved(rng: np.random.Generator, bars: Arrays, t: int, other: Arrays) -> int:
    ratio, days = float(rng.choice([2, 3, 1 / 8, 1 / 75, 20])), int(rng.integers(1, 4))
    price, flag = (t, t + days) if rng.random() < 0.5 else (t + days, t)
    _scale(bars, slice(price, None), 1.0 / ratio, ratio)
    bars["split_ratio"][flag] = ratio
    return t + days


def _spin_off(coded: bool) -> Fault:
    def plant(rng: np.random.Generator, bars: Arrays, t: int, other: Arrays) -> int:
        remaining = 1.0 - rng.uniform(0.12, 0.4)
        _scale(bars, slice(t, None), remaining)
        if coded:
            bars["split_ratio"][t] = 1.0 / remaining
        return t

    return plant


def _decimal_point(rng: np.random.Generator, bars: Arrays, t: int, other: Arrays) -> int:
    _scale(bars, slice(t, t + 1), float(rng.choice([100.0, 0.01, 10.0, 0.1])))
    return t


def _one_price(name: str) -> Fault:
    def plant(rng: np.random.Generator, bars: Arrays, t: int, other: Arrays) -> int:
        bars[name][t] *= float(rng.choice([100.0, 0.01]))
        return t

    return plant


def _swapped(rng: np.random.Generator, bars: Arrays, t: int, other: Arrays) -> int:
    last = t + int(rng.integers(0, 5))
    for name in (*PRICES, "volume"):
        bars[name][t : last + 1] = other[name][t : last + 1]
    return last


def _no_open(rng: np.random.Generator, bars: Arrays, t: int, other: Arrays) -> int:
    last = t + int(rng.integers(0, 20))
    bars["open"][t : last + 1] = 0.0
    return last


FAULTS: dict[str, Fault] = {
    "one bad day": _bad_day,
    "a split for one day": _split_for_a_day,
    "some bad days": _excursion,
    "split without a flag": _split((2.0, 3.0, 4.0, 7.0)),
    "reverse split without a flag": _split((1 / 4, 1 / 8, 1 / 10, 1 / 20)),
    "reverse split by an odd ratio": _split((1 / 12, 1 / 35, 1 / 75)),
    "flag days early or late": _flag_moved,
    "spin-off without a flag": _spin_off(coded=False),
    "spin-off as a split": _spin_off(coded=True),
    "decimal point, all four prices": _decimal_point,
    "decimal point, close": _one_price("close"),
    "decimal point, open": _one_price("open"),
    "decimal point, high": _one_price("high"),
    "decimal point, low": _one_price("low"),
    "prices of another symbol": _swapped,
    "opens of 0": _no_open,
}


def random_walk(rng: np.random.Generator) -> Arrays:
    """Bars with fat tails and, in a quarter of the series, a real jump with a multiple of the volume."""
    steps = 0.012 * rng.standard_t(4, SESSIONS)
    volume = rng.lognormal(13.5, 0.35, SESSIONS)
    if rng.random() < 0.25:
        t = int(rng.integers(MARGIN, SESSIONS - MARGIN))
        steps[t] = rng.choice([-1.0, 1.0]) * rng.uniform(0.15, 0.9)
        volume[t : t + 3] *= np.array([12.0, 5.0, 2.0])
    close = rng.uniform(8.0, 120.0) * np.exp(np.cumsum(steps))
    opened = close * np.exp(0.004 * rng.normal(size=SESSIONS))
    spread = np.exp(np.abs(0.006 * rng.normal(size=(2, SESSIONS))))
    high, low = np.maximum(opened, close) * spread[0], np.minimum(opened, close) / spread[1]
    prices = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    return prices | {"split_ratio": np.ones(SESSIONS), "paid": np.zeros(SESSIONS), "level": close.copy()}


def real_stretches(folder: Path) -> list[Arrays]:
    """Stretches of the file without a refused bar or a doubted event, one after the other."""
    names = ["ticker", "date", *PRICES, "volume", "dividend", "split_ratio"]
    raw = pl.read_parquet(folder / "prices_sp500_raw.parquet", columns=names).sort("ticker", "date")
    raw = raw.with_columns(pl.lit("as_traded").alias("adjustment"), provider=pl.lit("raw"), precedence=0)
    bars = raw.select(pl.col(name).cast(dtype) for name, dtype in BARS.items())
    days = calendar.sessions(bars["date"].min(), bars["date"].max())  # type: ignore[arg-type]
    result = company_bars(bars, DELISTINGS.to_frame(), days, BarSettings())
    bad = pl.concat([result.refused.select("ticker", "date"), result.events.select("ticker", "date")])
    series = result.series.join(bad.with_columns(bad=True), on=["ticker", "date"], how="left")
    stretches = []
    for (_,), rows in series.group_by("ticker", maintain_order=True):
        for start in range(0, len(rows) - SESSIONS, SESSIONS):
            part = rows[start : start + SESSIONS]
            if part["bad"].null_count() == SESSIONS:
                columns = {name: part[name].to_numpy().copy() for name in (*PRICES, "volume", "split_ratio")}
                level = (part["close"] * part["price_factor"]).to_numpy()
                stretches.append(columns | {"paid": part["dividend"].to_numpy().copy(), "level": level})
    return stretches


def plant(rng: np.random.Generator, draw: Callable[[], Arrays], count: int) -> list[Planted]:
    """`count` series of each fault."""
    planted = []
    for kind, fault in FAULTS.items():
        for _ in range(count):
            truth, other = draw(), draw()
            faulty = {name: values.copy() for name, values in truth.items()}
            first = int(rng.integers(MARGIN, SESSIONS - MARGIN))
            planted.append(Planted(kind, faulty, truth, first, fault(rng, faulty, first, other)))
    return planted


def frame(planted: list[Planted], beside: bool) -> pl.DataFrame:
    """The bars of two providers: the faulty one, and with `beside` one of correct adjusted prices."""
    parts = []
    for number, item in enumerate(planted):
        faulty, truth = item.given, item.truth
        about = {"ticker": f"S{number:05d}", "provider": "faulty", "adjustment": "as_traded", "precedence": 0}
        columns = {name: faulty[name] for name in (*PRICES, "volume", "split_ratio")}
        parts.append(pl.DataFrame(columns | {"date": DAYS, "dividend": faulty["paid"]}).with_columns(**_lit(about)))
        if beside:
            scale = truth["level"] / truth["close"] / 7.0
            right = {name: truth[name] * scale for name in PRICES}
            right |= {"volume": truth["volume"] * np.cumprod(truth["split_ratio"][::-1])[::-1]}
            about |= {"provider": "right", "adjustment": "total_return", "precedence": 1}
            flags = {"date": DAYS, "split_ratio": truth["split_ratio"], "dividend": np.zeros(SESSIONS)}
            parts.append(pl.DataFrame(right | flags).with_columns(**_lit(about)))
    bars = pl.concat([part.select(pl.col(name).cast(dtype) for name, dtype in BARS.items()) for part in parts])
    return bars.sort("ticker", "date", "precedence")


def _lit(values: dict[str, object]) -> dict[str, pl.Expr]:
    return {name: pl.lit(value) for name, value in values.items()}


def measure(planted: list[Planted], beside: bool) -> pl.DataFrame:
    """Detections of each series: `kind`, `found`, `right`, and false rows by `false_refused, false_changed, …`."""
    result = company_bars(frame(planted, beside), DELISTINGS.to_frame(), DAYS, BarSettings())
    rows = pl.concat(
        [
            result.refused.filter(pl.col("provider") == "faulty").select("ticker", "date", action=pl.lit("refused")),
            result.events.filter(pl.col("provider") == "faulty").select("ticker", "date", "action"),
            result.series.filter(pl.col("open").is_null()).select("ticker", "date", action=pl.lit("without_open")),
        ]
    )
    by_ticker = {ticker: part for (ticker,), part in rows.group_by("ticker")}
    levels = {
        ticker: dict(part.select("date", pl.col("close") * pl.col("price_factor")).iter_rows())
        for (ticker,), part in result.series.group_by("ticker")
    }
    results = []
    for number, series in enumerate(planted):
        name = f"S{number:05d}"
        mine = by_ticker.get(name, rows.clear())
        inside = pl.col("date").is_between(DAYS[series.first].item(), DAYS[series.last + 1].item())
        level, before, after = levels.get(name, {}), series.first - 1, series.last + 2
        true = series.truth["level"][after] / series.truth["level"][before]
        stands = [level.get(DAYS[t].item()) for t in (after, before)]
        right = None not in stands and abs(stands[0] / stands[1] / true - 1.0) < 0.01  # type: ignore[operator]
        false = mine.filter(~inside)["action"]
        counts = {f"false_{action}": int((false == action).sum()) for action in ("refused", "repaired", "listed")}
        results.append({"kind": series.kind, "found": mine.filter(inside).height > 0, "right": right, **counts})
    return pl.DataFrame(results)


def main() -> None:
    """Print one table for the faulty provider alone and with a correct one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with prices_sp500_raw.parquet; random walks without it")
    parser.add_argument("--series", type=int, default=100, help="series of each fault")
    parser.add_argument("--seed", type=int, default=20_240_601)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    stretches = real_stretches(arguments.data) if arguments.data else []

    def draw() -> Arrays:
        if not stretches:
            return random_walk(rng)
        return {name: values.copy() for name, values in stretches[int(rng.integers(len(stretches)))].items()}

    planted = plant(rng, draw, arguments.series)
    alone, beside = measure(planted, beside=False), measure(planted, beside=True)
    table = Table("fault", "found", "level right", "found beside another", "level right beside another")
    for kind in FAULTS:
        cells = []
        for result in (alone, beside):
            mine = result.filter(pl.col("kind") == kind)
            cells += [f"{mine['found'].mean():.0%}", f"{mine['right'].mean():.0%}"]
        table.add_row(kind, *cells)
    table.add_row("all", *(f"{result[name].mean():.1%}" for result in (alone, beside) for name in ("found", "right")))
    console = Console(width=120)
    console.print(table)
    for name, result in (("alone", alone), ("beside another", beside)):
        false = {name: int(result[name].sum()) for name in result.columns if name.startswith("false")}
        total, hits = sum(false.values()), int(result["found"].sum())
        bars = len(result) * SESSIONS
        console.print(f"{name}: precision {hits / (hits + total):.1%}; of {bars:,} bars {false}", highlight=False)


if __name__ == "__main__":
    main()
