"""What is said beside partitions of the steps that nothing explains: the rule for them is `market.containment`."""

import polars as pl

from quant_assets.asset_functions import Run
from quant_assets.grains import MONTH
from quant_assets.market.containment import marked_members


def tell_marked(run: Run, sector: str, prices: pl.DataFrame, universe: pl.DataFrame) -> None:
    """Name the members with an unexplained step, which does not count as it is in means over the sector, by month."""
    inside = pl.col("date").is_between(run.first_day, run.last_day)
    found = marked_members(prices, universe).filter(inside).with_columns(month=MONTH.label("date"))
    for (month,), rows in found.group_by("month"):
        named = ", ".join(f"{ticker} {date}" for ticker, date in rows.select("ticker", "date").iter_rows())
        run.tell(sector, str(month), {"unexplained_steps": len(rows), "unexplained_steps_list": named})
