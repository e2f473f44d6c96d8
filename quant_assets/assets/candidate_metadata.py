"""What the web UI shows beside candidates: coverage and turnover of each partition, and a picture of the newest."""

import base64
from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.assets.declare import PICTURED_MONTHS, newest_keys, readable
from quant_assets.errors import DatasetError
from quant_assets.partitions import RunPartitions, key, month_of, shift_month
from quant_assets.profile import Profile
from quant_assets.schemas import DATASETS
from quant_assets.signals.selection import Selection, turnover


def describe_selections(
    context: dg.AssetExecutionContext, profile: Profile, run: RunPartitions, selections: Mapping[str, Selection]
) -> None:
    """Add the figures of each partition, and to those of the last months a picture of the partition.

    Turnover against the month before the run's first is taken from what is stored; where that is nothing, it is left
    out.

    Args:
        context: of the run.
        profile: that the run belongs to.
        run: its partitions.
        selections: by sector.

    """
    pictured = set(newest_keys(run, PICTURED_MONTHS))
    for sector, chosen in selections.items():
        turnovers = _turnover(context, profile, sector, chosen)
        for row in chosen.coverage.join(turnovers, on="as_of", how="left").rows(named=True):
            partition_key = key(sector, month_of(row["as_of"]))
            figures = {name: row[name] for name in ("members", "with_bar", "with_garch_volatility", "eligible")}
            shares = {name: row[name] for name in ("long_turnover", "short_turnover")}
            if row["members"]:
                shares["eligible_share"] = row["eligible"] / row["members"]
            shown: dict[str, Any] = {**readable(figures | shares)}
            if partition_key in pictured:
                shown["selection"] = _picture(sector, chosen, turnovers, row["as_of"])
            context.add_asset_metadata(shown, partition_key=partition_key)


def _picture(sector: str, chosen: Selection, turnovers: pl.DataFrame, as_of: date) -> dg.MetadataValue:
    """Of one decision alone: a picture of several would depend on which months the run had."""
    from quant_assets.reporting.selection_plot import selection_png  # matplotlib is loaded by those who draw only

    of_the_day = pl.col("as_of") == as_of
    alone = Selection(*(each.filter(of_the_day) for each in chosen))
    png = base64.b64encode(selection_png({sector: alone}, {sector: turnovers.filter(of_the_day)})).decode()
    return dg.MetadataValue.md(f"![scores, coverage and turnover](data:image/png;base64,{png})")


def _turnover(context: dg.AssetExecutionContext, profile: Profile, sector: str, chosen: Selection) -> pl.DataFrame:
    """Turnover at each decision of the run."""
    as_ofs = chosen.coverage["as_of"].to_list()
    rows = chosen.candidates.select("as_of", "ticker", "candidate_type")
    if not as_ofs:
        return turnover(rows, as_ofs)
    dataset, before = DATASETS["candidates"], key(sector, shift_month(month_of(as_ofs[0]), -1))
    try:
        stored = (
            dataset.empty()
            if profile.store.missing(dataset, [before])
            else profile.store.read(dataset, [before]).collect()
        )
    except DatasetError as error:  # a figure for the web UI is not worth the run
        context.log.warning(f"turnover of the first month is not known: {error}")
        stored = dataset.empty()
    return turnover(pl.concat([stored.select(rows.columns), rows]), [*stored["as_of"].unique().sort(), *as_ofs])
