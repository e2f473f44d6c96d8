"""What the web UI shows beside a run's candidates: coverage and turnover of each partition, one picture of the run."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run
from quant_assets.assets.declare import newest_keys
from quant_assets.errors import DatasetError
from quant_assets.partitions import key, month_of, shift_month
from quant_assets.signals.selection import Selection, turnover


def described(run: Run, selections: Mapping[str, Selection]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Sector, month and figures of each partition, and with the last months the picture of the whole run.

    Turnover against the month before the run's first is taken from what is stored; where that is nothing, it is left
    out.

    Args:
        run: whose partitions they are.
        selections: by sector.

    """
    turnovers = {sector: _turnover(run, sector, chosen) for sector, chosen in selections.items()}
    drawn: dict[str, dg.MetadataValue] = {}
    if any(len(each.coverage) for each in selections.values()):
        from quant_assets.reporting.selection_plot import selection_png  # matplotlib is loaded by those who draw only

        picture = base64.b64encode(selection_png(selections, turnovers)).decode()
        drawn = {"selection": dg.MetadataValue.md(f"![scores, coverage and turnover](data:image/png;base64,{picture})")}
    pictured = set(newest_keys(run.partitions))
    for sector, chosen in selections.items():
        for row in chosen.coverage.join(turnovers[sector], on="as_of", how="left").rows(named=True):
            month = month_of(row["as_of"])
            figures = {name: row[name] for name in ("members", "with_bar", "with_garch_volatility", "eligible")}
            shares = {name: row[name] for name in ("long_turnover", "short_turnover")}
            if row["members"]:
                shares["eligible_share"] = row["eligible"] / row["members"]
            known = {name: round(value, 6) for name, value in shares.items() if value is not None}
            yield sector, month, figures | known | (drawn if key(sector, month) in pictured else {})


def _turnover(run: Run, sector: str, chosen: Selection) -> pl.DataFrame:
    """Turnover at each decision of the run."""
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
