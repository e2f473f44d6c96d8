"""Synthetic frames for the market tests, and one real sector."""

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.settings.loading import load_settings
from quant_assets.sources.base import SECTOR_SNAPSHOTS
from quant_assets_tests import synthetic_bars
from quant_assets_tests.real_sector import Real, read_sector


@pytest.fixture(scope="session")
def make_bars() -> Callable[..., pl.DataFrame]:
    """Build bars from closes: one ticker and provider, a bar for each close that is not None."""
    return synthetic_bars.make_bars


@pytest.fixture(scope="session")
def make_snapshots() -> Callable[..., pl.DataFrame]:
    """Build sector snapshots from (ticker, sector, known_at) of symbols that were not renamed, or with `since`."""

    def build(*rows: tuple[str, str, date] | tuple[str, str, date, date]) -> pl.DataFrame:
        return pl.DataFrame([(*row, None)[:4] for row in rows], schema=SECTOR_SNAPSHOTS, orient="row")

    return build


@pytest.fixture(scope="session")
def real(shared_data: Path) -> Real:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("QUANT_"):
                patch.delenv(name)
        settings = load_settings("files", data_dir=shared_data)
    return read_sector(settings, shared_data, "healthcare")
