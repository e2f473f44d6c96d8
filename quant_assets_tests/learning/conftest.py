"""A synthetic sector with a planted relation, for every learning test."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from quant_assets.market.calendar import session_number
from quant_assets_tests.synthetic_learning import Market, simulate


@pytest.fixture(scope="session")
def simulate_market() -> Callable[..., Market]:
    """The generator, for tests that need another strength or size."""
    return simulate


@pytest.fixture(scope="session")
def market() -> Market:
    """A planted relation over four years."""
    return simulate()


@pytest.fixture(scope="session")
def numbers() -> Callable[[pl.Series], np.ndarray]:
    """Session numbers of a date column."""
    return lambda column: session_number(column.to_numpy())
