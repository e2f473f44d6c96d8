"""Body of `quant capacity`: simulates stored weights of a sector for several sizes of the book. Writes no dataset."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
from rich.table import Table

from quant_assets.backtest.capacity import Capacity, by_capital
from quant_assets.backtest.simulation import lookback_months
from quant_assets.errors import UsageError
from quant_assets.market.calendar import decision_sessions, sessions
from quant_assets.partitions import key, month_end, month_range, month_start, parse_key, shift_month
from quant_assets.profile import Profile

#: The datasets that a simulation reads.
_READ = ("prices", "delistings", "weights")


def output(
    profile: Profile, sectors: Sequence[str], first: str, last: str, capitals: str, plot: Path | None
) -> Iterator[str | Table]:
    """Lines and tables of the command.

    Args:
        profile: its storage is read.
        sectors: slugs.
        first: first month of the result.
        last: its last month.
        capitals: USD, comma-separated.
        plot: PNG file to write.

    Raises:
        SettingsError: a capital is not an amount.
        MissingPartitionError: a month of the result has not been run.

    """
    sizes = amounts(capitals)
    settings = profile.settings.backtest.model_copy(update={"costs": "itemised"})
    entry_lag = profile.settings.labels.entry_lag
    # Every month of a year has the book of its December, which reaches back furthest.
    since = max(shift_month(f"{first[:4]}-12", -lookback_months(entry_lag, settings)), profile.months.start)
    through = min(month_end(last), profile.last_session())
    days = sessions(month_start(shift_month(since, -1)), through)
    results: dict[str, list[Capacity]] = {}
    for sector in sectors:
        begins = {name: first_stored(profile, name, sector, since, first) for name in _READ}
        frames = {
            name: profile.store.read(
                profile.datasets[name], [key(sector, month) for month in month_range(begin, last)]
            ).collect()
            for name, begin in begins.items()
        }
        begin = max(begins.values())
        as_ofs = decision_sessions(month_start(begin), through)
        results[sector] = by_capital(
            frames["weights"].filter(pl.col("month") >= begin).drop("sector", "month"),
            frames["prices"].drop("sector", "month"),
            days,
            as_ofs,
            month_start(first),
            through,
            sizes,
            entry_lag=entry_lag,
            settings=settings,
            delistings=frames["delistings"].drop("sector", "month"),
        )
        if begin > since:
            yield (
                f"{sector}: the book begins with cash and buys after the decision of {as_ofs[0]}, the first that is "
                f"stored; for an earlier begin: quant run --profile {profile.settings.profile} --sector {sector} "
                f"--from {since} --to {shift_month(begin, -1)} --select {','.join(_READ)}"
            )
        yield f"{sector}, {first} to {last}: a year's figures by capital, costs as in backtest.*"
        yield _table(results[sector])
    if plot is not None:
        from quant_assets.reporting.capacity_plot import capacity_png

        plot.write_bytes(capacity_png(results))
        yield f"plot: {plot}"


def first_stored(profile: Profile, name: str, sector: str, since: str, first: str) -> str:
    """The first month from `since` on after which every month up to `first` is stored; `first` if none is."""
    earlier = month_range(since, shift_month(first, -1))
    missing = profile.store.missing(profile.datasets[name], [key(sector, month) for month in earlier])
    return shift_month(max(parse_key(partition)[1] for partition in missing), 1) if missing else since


def amounts(text: str) -> list[float]:
    """Capitals of the option, ascending.

    Raises:
        SettingsError: one is not a positive amount.

    """
    values = set()
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = 0.0
        if not 0.0 < value < float("inf"):
            raise UsageError(f"--capital {part.strip()} is not an amount of USD; write for example 1000000,1e8")
        values.add(value)
    return sorted(values)


def _table(rows: Sequence[Capacity]) -> Table:
    table = Table()
    names = ("capital", "net return", "Sharpe", "turnover", "cost", *rows[0].terms)
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        figures = (row.annualised_return, row.sharpe, row.turnover, row.cost, *row.terms.values())
        form = (".2%", ".2f", ".2f", *(".3%" for _ in figures[3:]))
        texts = ["-" if value is None else f"{value:{spec}}" for value, spec in zip(figures, form, strict=True)]
        table.add_row(f"{row.capital:,.0f}", *texts)
    return table
