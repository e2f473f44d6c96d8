"""One sector of the real files, read once for the tests that look at it."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from quant_assets.market import calendar
from quant_assets.market.universe import panel_tickers
from quant_assets.settings.loading import Settings
from quant_assets.sources.files import FilesSource

START, THROUGH = date(2000, 1, 1), date(2025, 10, 7)


@dataclass(frozen=True)
class Real:
    """A sector of the real files, as read."""

    settings: Settings
    source: FilesSource
    sector: str
    bars: pl.DataFrame
    snapshots: pl.DataFrame
    sessions: np.ndarray


def read_sector(settings: Settings, folder: Path, sector: str) -> Real:
    """Bars and snapshots of a sector's tickers from the files in a folder."""
    source = FilesSource(settings.files, folder, START)
    snapshots = source.sector_snapshots(THROUGH)
    bars = source.bars(panel_tickers(snapshots, sector, THROUGH), START, THROUGH)
    return Real(settings, source, sector, bars, snapshots, calendar.sessions(START, THROUGH))
