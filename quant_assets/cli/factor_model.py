"""Body of `quant factor-model`: regresses a backtest on factor returns, published ones or the universe's own."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.table import Table

from quant_assets.backtest.factor_models import MEANINGS, Exposure, explain
from quant_assets.backtest.factor_returns import FactorReturns, joined, parse
from quant_assets.backtest.metrics import since_first_execution
from quant_assets.backtest.own_factors import COLUMNS, own_factors
from quant_assets.errors import MissingPartitionError, SourceError
from quant_assets.market.calendar import sessions
from quant_assets.partitions import key, month_range, parse_key
from quant_assets.profile import Profile


def read_files(paths: Sequence[Path]) -> FactorReturns:
    """Factor returns of French's files.

    Raises:
        SourceError: a file cannot be read; names it.

    """
    tables = []
    for path in paths:
        try:
            tables.append(parse(path.read_text(encoding="utf-8", errors="replace"), path.name))
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror or error}; give a CSV of French's data library") from None
    return joined(tables)


def track_of(profile: Profile, sector: str, first: str, last: str) -> pl.DataFrame:
    """A sector's stored backtest of some months, from its first execution on.

    Raises:
        MissingPartitionError: none of these months is stored, or there is a gap.

    """
    dataset = profile.datasets["backtest"]
    stored = sorted(
        month
        for stored_sector, month in map(parse_key, profile.store.existing(dataset))
        if stored_sector == sector and first <= month <= last
    )
    if not stored:
        raise MissingPartitionError(
            f"no month of 'backtest' of {sector} is in {profile.store.url}; run it first: quant run "
            f"--profile {profile.settings.profile} --sector {sector} --to {last} --select backtest"
        )
    keys = [key(sector, month) for month in month_range(stored[0], stored[-1])]
    return since_first_execution(profile.store.read(dataset, keys).collect())


def universe_factors(profile: Profile, track: pl.DataFrame) -> tuple[FactorReturns, str]:
    """Factor returns of every sector with stored scores, and a description of their breadth.

    Raises:
        MissingPartitionError: no scores of this period are stored.

    """
    store = profile.store
    first: Any = track["date"].min()
    last: Any = track["date"].max()
    months = (f"{first:%Y-%m}", f"{last:%Y-%m}")
    scored = store.existing(profile.datasets["scores"])
    priced = store.existing(profile.datasets["prices"])
    # The decision of the month before is in force at the first session.
    keys = sorted(partition for partition in scored & priced if parse_key(partition)[1] <= months[1])
    since = sorted({parse_key(partition)[1] for partition in keys if parse_key(partition)[1] < months[0]})[-1:] or [
        months[0]
    ]
    keys = [partition for partition in keys if parse_key(partition)[1] >= since[0]]
    if not keys:
        raise MissingPartitionError(
            f"no scores from {months[0]} to {months[1]} are in {store.url}: run them (quant run --select scores), or "
            "give factor returns with --returns"
        )
    rows = store.read(profile.datasets["scores"], keys).select("sector", *COLUMNS).collect()
    prices = (
        store.read(profile.datasets["prices"], keys)
        .filter("in_sector")
        .select("ticker", "date", "listed", "close", "unexplained")
        .collect()
    )
    rows = rows.unique(["ticker", "as_of"], keep="first", maintain_order=True)
    prices = prices.unique(["ticker", "date"], keep="first", maintain_order=True)
    returns = own_factors(rows, prices, sessions(rows["as_of"].min(), last), last)  # type: ignore[arg-type]
    names: Any = rows.group_by("as_of").len()["len"].median()
    return (
        returns,
        f"{rows['sector'].n_unique()} sectors, {names:.0f} names at the median decision; not published factors",
    )


def output(sector: str, model: Exposure, width: str) -> Iterator[str | Table]:
    """Lines and the table of a regression."""
    yield f"{sector}, net of costs, {model.frequency} from {model.first} to {model.last}: model {model.model}"
    rate = "less the risk-free rate" if model.risk_free else "no risk-free rate is subtracted"
    yield f"factor returns: {model.origin}{f' ({width})' if width else ''}; {rate}"
    low, high = model.alpha_interval
    yield (
        f"alpha {_percent(model.alpha)} a year (95 %: {_percent(low)} to {_percent(high)}), t {model.fit.t[0]:+.2f}; "
        f"R squared {model.fit.r_squared:.2f}, residual volatility {100 * model.residual_volatility:.1f} % a year; "
        f"{model.fit.count} periods, Newey-West with {model.fit.lags} lags"
    )
    table = Table()
    for position, name in enumerate(("factor", "what", "beta", "std error", "t", "p")):
        table.add_column(name, justify="left" if position < 2 else "right")
    fit = model.fit
    for position, name in enumerate(model.factors, 1):
        table.add_row(
            name,
            MEANINGS[name],
            f"{fit.coefficients[position]:+.3f}",
            f"{fit.errors[position]:.3f}",
            f"{fit.t[position]:+.2f}",
            f"{fit.p[position]:.3f}",
        )
    yield table


def explained(
    profile: Profile, sector: str, first: str, last: str, model: str, paths: Sequence[Path]
) -> Iterator[str | Table]:
    """The regression of a sector's backtest, on factor returns of files or of the universe."""
    track = track_of(profile, sector, first, last)
    if track.is_empty():
        yield f"{sector}: nothing was held from {first} to {last}"
        return
    factors, width = (read_files(paths), "") if paths else universe_factors(profile, track)
    yield from output(sector, explain(track, factors, model), width)


def _percent(value: float) -> str:
    return f"{100 * value:+.1f} %"
