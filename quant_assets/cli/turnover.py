"""Body of `quant turnover`: a sector's stored turnover by cause, and its report as a file. Writes no dataset."""

from collections.abc import Iterator

import polars as pl
from rich.table import Table

from quant_assets.exports import turnover_report, write_document
from quant_assets.partitions import key, month_range
from quant_assets.profile import Profile


def output(profile: Profile, sector: str, first: str, last: str) -> Iterator[str | Table]:
    """Lines and the table of a sector.

    Raises:
        MissingPartitionError: a month has not been run.

    """
    keys = [key(sector, month) for month in month_range(first, last)]
    rows = profile.store.read(profile.datasets["turnover"], keys).collect()
    report = turnover_report(rows)
    yield f"{sector}, {first} to {last}: {report['num_rebalances']} sessions with trades"
    table = Table()
    for name in ("cause", "sessions", "turnover", "cost (bp)"):
        table.add_column(name, justify="left" if name == "cause" else "right")
    spent = pl.col("turnover") * pl.col("cost_bps")
    by_cause = rows.group_by("traded", "cause").agg(
        pl.len(), pl.sum("turnover"), cost=spent.sum() / pl.col("turnover").sum()
    )
    for row in by_cause.sort("traded", "cause", descending=[True, False]).iter_rows(named=True):
        cost = f"{row['cost']:.1f}" if row["traded"] else "not traded"
        table.add_row(row["cause"], f"{row['len']}", f"{row['turnover']:.3f}", cost)
    yield table
    cap = report["turnover_cap"]
    if cap is None:
        yield "no limit (backtest.turnover.limited)"
    else:
        yield f"limit {cap} a session: above it {report['cap_breaches']} times"
    yield f"file: {write_document(profile.store, f'turnover/{sector}/turnover_report.json', report)}"
