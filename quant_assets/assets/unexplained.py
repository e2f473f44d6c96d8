"""Metadata of partitions about unexplained price steps; the rule is in `market.containment`."""

import polars as pl

from quant_assets.asset_functions import Run
from quant_assets.grains import MONTH
from quant_assets.market.containment import marked_members


def tell_marked(run: Run, sector: str, prices: pl.DataFrame, universe: pl.DataFrame) -> None:
    """Record the members with an unexplained step, by month; means over the sector treat these steps specially."""
    inside = pl.col("date").is_between(run.first_day, run.last_day)
    steps = marked_members(prices, universe).filter(inside).with_columns(month=MONTH.label("date"))
    for (month,), rows in steps.group_by("month"):
        named = ", ".join(f"{ticker} {date}" for ticker, date in rows.select("ticker", "date").iter_rows())
        run.tell(sector, str(month), {"unexplained_steps": len(rows), "unexplained_steps_list": named})
