"""From the providers' bars to a sector's panel: quarantine, faulty events, one series for each ticker, placement."""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.adjustment import join_providers
from quant_assets.market.delistings import with_listing
from quant_assets.market.events import detect, repair
from quant_assets.market.placement import entries, place, sector_on
from quant_assets.market.quarantine import judge, refuse_stale
from quant_assets.market.reconciliation import compare
from quant_assets.market.steps import with_steps
from quant_assets.schemas import DATASETS
from quant_assets.settings import FilesSettings


class SectorBars(NamedTuple):
    """Rows of the datasets of the same names, and `compared`: all of `reconciliation.compare`, for a summary."""

    ohlcv: pl.DataFrame
    quarantine: pl.DataFrame
    price_events: pl.DataFrame
    price_disagreements: pl.DataFrame
    compared: pl.DataFrame


def sector_bars(
    bars: pl.DataFrame,
    delistings: pl.DataFrame,
    snapshots: pl.DataFrame,
    sector: str,
    sessions: NDArray[np.datetime64],
    settings: FilesSettings,
) -> SectorBars:
    """Bars of a sector's panel, the bars refused, the events doubted and the providers' disagreements, for the whole history.

    The panel holds every ticker that belongs to the sector or belonged to it before. `panel_from` is the row's own date;
    for the bars before a ticker moved in it is the session at which it moved. Refused bars are listed from the session on
    which the ticker is in the panel; those before are listed by the sector it came from.

    Args:
        bars: `sources.base.BARS` of the panel's tickers from the start of the profile on: the factors start at the first bar.
        delistings: `sources.base.DELISTINGS` of those tickers: after one, a symbol's bars are another company's.
        snapshots: `sources.base.SECTOR_SNAPSHOTS`.
        sector: slug.
        sessions: datetime64[D] of shape (n_sessions,) from the start of the profile to the last session of the bars.
        settings: how providers are joined and events judged.

    """
    judged = with_listing(judge(bars, sessions), delistings)
    reported = with_steps(judged)
    compared = compare(reported, settings.events)  # before the next rule, which disagreements are the ground of
    judged = refuse_stale(judged, reported, settings.events)
    events = detect(with_steps(judged), settings.events)
    series, unjoined = join_providers(repair(judged, events), settings)
    placed = sector_on(place(series, snapshots, sector, sessions, "date"), snapshots, sessions)
    refused = pl.concat([judged.filter(pl.col("reason").is_not_null()), unjoined])
    listed = refused.join(entries(snapshots, sector, sessions), on="ticker").filter(pl.col("date") >= pl.col("entered"))
    listed = listed.with_columns(pl.col("open", "high", "low", "close", "volume").fill_nan(None))
    apart = compared.drop_nulls("explanation")
    return SectorBars(
        _dataset("ohlcv", placed.with_columns(in_sector=pl.col("sector").eq_missing(sector))),
        _dataset("quarantine", listed),
        _dataset("price_events", place(events, snapshots, sector, sessions, "date")),
        _dataset("price_disagreements", place(apart, snapshots, sector, sessions, "date")),
        compared,
    )


def _dataset(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    dataset = DATASETS[name]
    return rows.select(list(dataset.columns)).sort(dataset.key)
