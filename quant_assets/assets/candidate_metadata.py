"""Metadata of candidates for the web UI: coverage, exclusions with reasons, turnover, and a picture."""

import base64
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run, readable
from quant_assets.assets.declare import PICTURED_MONTHS, newest_keys
from quant_assets.errors import DatasetError
from quant_assets.partitions import key, month_of, shift_month
from quant_assets.signals.selection import Selection, by_reason, turnover


def described(run: Run, selections: Mapping[str, Selection]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Sector, month and figures of the partitions; the last months also have exclusions and a picture.

    Turnover of the run's first month uses the stored month before; without one it is left out.

    Args:
        run: of the partitions.
        selections: by sector.

    """
    # A daily run over all sectors would draw for as long as it computes.
    pictured = set(newest_keys(run.partitions, PICTURED_MONTHS)) if len(run.sectors) == 1 else set()
    named = set(newest_keys(run.partitions))
    for sector, chosen in selections.items():
        turnovers = _turnover(run, sector, chosen)
        for row in chosen.coverage.join(turnovers, on="as_of", how="left").rows(named=True):
            month = month_of(row["as_of"])
            figures = {name: row[name] for name in ("members", "with_bar", "with_garch_volatility", "eligible")}
            shares = {name: row[name] for name in ("long_turnover", "short_turnover")}
            if row["members"]:
                shares["eligible_share"] = row["eligible"] / row["members"]
            left_out = by_reason(chosen.excluded.filter(pl.col("as_of") == row["as_of"]))
            counts = {f"excluded_{reason}": len(tickers) for reason, tickers in left_out.items()}
            shown: dict[str, Any] = {**readable(figures | counts | shares)}
            if key(sector, month) in named:
                lines = [f"- {reason}: {', '.join(tickers)}" for reason, tickers in left_out.items()]
                shown["excluded"] = dg.MetadataValue.md("\n".join(lines) or "none")
            if key(sector, month) in pictured:
                shown["selection"] = _picture(sector, chosen, turnovers, row["as_of"])
            yield sector, month, shown


def _picture(sector: str, chosen: Selection, turnovers: pl.DataFrame, as_of: date) -> dg.MetadataValue:
    """A picture of one decision only: one of several would depend on the months of the run."""
    from quant_assets.reporting.selection_plot import selection_png  # imports matplotlib

    of_the_day = pl.col("as_of") == as_of
    alone = Selection(*(frame.filter(of_the_day) for frame in chosen))
    png = base64.b64encode(selection_png({sector: alone}, {sector: turnovers.filter(of_the_day)})).decode()
    return dg.MetadataValue.md(f"![scores, coverage and turnover](data:image/png;base64,{png})")


def _turnover(run: Run, sector: str, chosen: Selection) -> pl.DataFrame:
    """Turnover at the decisions of the run."""
    as_ofs = chosen.coverage["as_of"].to_list()
    rows = chosen.candidates.select("as_of", "ticker", "candidate_type")
    if not as_ofs:
        return turnover(rows, as_ofs)
    dataset, before = run.dataset("candidates"), key(sector, shift_month(month_of(as_ofs[0]), -1))
    try:
        missing = run.store.missing(dataset, [before])
        stored = dataset.empty() if missing else run.store.read(dataset, [before]).collect()
    except DatasetError as error:  # a figure for the web UI is not worth the run
        run.tell_log(f"turnover of the first month is not known: {error}", warning=True)
        stored = dataset.empty()
    return turnover(pl.concat([stored.select(rows.columns), rows]), [*stored["as_of"].unique().sort(), *as_ofs])
