"""Leaks of features of the economy, planted where they are computed from what was known."""

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.features import features as computed
from quant_assets_tests.audit.leaks import leak, spoil

#: With the set, and a history that is long enough for figures of twelve months.
SETTINGS: dict[str, Any] = {"features": {"sets": ["core", "macro"]}}
START = "2022-01"


@leak(
    "a feature of a release of the session after",
    "perturbation",
    "features",
    kind="an announcement a session early",
    start=START,
    settings=SETTINGS,
    cut=date(2023, 11, 20),
)
def _(patch: pytest.MonkeyPatch) -> None:
    def early(real: Any, macro: pl.DataFrame, features: Any, days: np.ndarray) -> pl.DataFrame:
        place = np.searchsorted(days, macro["known_at"].to_numpy().astype(days.dtype))
        known = pl.Series("known_at", days[np.maximum(place - 1, 0)], dtype=pl.Date)
        return real(macro.with_columns(known), features, days)

    spoil(patch, computed, "macro_features", early)


@leak(
    "growth over twelve months from the newest vintages",
    "perturbation",
    "features",
    kind="a later revision in place of the first",
    start=START,
    settings=SETTINGS,
    # Industrial production is revised a month later: the month computed has both.
    cut=date(2023, 11, 20),
)
def _(patch: pytest.MonkeyPatch) -> None:
    def revised(real: Any, macro: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        value = pl.col("value").sort_by("known_at").last().over("series_id", "period")
        return real(macro.with_columns(value), *rest)

    spoil(patch, computed, "macro_features", revised)
