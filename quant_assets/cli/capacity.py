"""Body of `quant capacity`: simulates stored weights of a sector for several sizes of the book. Writes no dataset."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table

from quant_assets.backtest.capacity import Capacity, by_capital
from quant_assets.backtest.simulation import lookback_months
from quant_assets.errors import SettingsError
from quant_assets.market.calendar import decision_sessions, sessions
from quant_assets.partitions import key, month_end, month_range, month_start, shift_month
from quant_assets.profile import Profile


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
        MissingPartitionError: a needed month has not been run.

    """
    sizes = amounts(capitals)
    settings = profile.settings.backtest.model_copy(update={"costs": "itemised"})
    entry_lag = profile.settings.labels.entry_lag
    since = max(shift_month(first, -lookback_months(entry_lag, settings)), profile.months.start)
    through = min(month_end(last), profile.last_session())
    days = sessions(month_start(since), through)
    results: dict[str, list[Capacity]] = {}
    for sector in sectors:
        keys = [key(sector, month) for month in month_range(since, last)]
        frames = {
            name: profile.store.read(profile.datasets[name], keys).collect().drop("sector", "month")
            for name in ("weights", "prices", "delistings")
        }
        as_ofs = decision_sessions(month_start(since), through)
        results[sector] = by_capital(
            frames["weights"],
            frames["prices"],
            days,
            as_ofs,
            month_start(first),
            through,
            sizes,
            entry_lag=entry_lag,
            settings=settings,
            delistings=frames["delistings"],
        )
        yield f"{sector}, {first} to {last}: a year's figures by capital, costs as in backtest.*"
        yield _table(results[sector])
    if plot is not None:
        from quant_assets.reporting.capacity_plot import capacity_png

        plot.write_bytes(capacity_png(results))
        yield f"plot: {plot}"


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
            raise SettingsError(f"--capital {part.strip()} is not an amount of USD; write for example 1000000,1e8")
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
