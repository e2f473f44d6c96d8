"""Leaks of updates between trainings to plant in the real code: rows that were not known yet, models that knew them."""

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from quant_assets.learning import updating
from quant_assets_tests.audit.leaks import leak, spoil

#: December trains, January updates, and the cut is the session of the update.
WHEN: dict[str, Any] = {"first": "2023-12", "last": "2024-01", "cut": date(2024, 1, 31), "reach": 2}


@leak(
    "an update fed with rows that become known later",
    "perturbation",
    "lightgbm_checkpoint",
    kind="an update by labels not known yet",
    **WHEN,
)
def _(patch: pytest.MonkeyPatch) -> None:
    def later(real: Any, features: pl.DataFrame, labels: pl.DataFrame, as_of: date, settings: Any, *rest: Any) -> Any:
        every = real(features, labels, as_of + timedelta(days=20), settings, *rest)
        return every.filter(pl.col("date") <= as_of)

    spoil(patch, updating, "rows_of", later)


@leak(
    "an update whose embargo lies after its session",
    "perturbation",
    "lightgbm_checkpoint",
    kind="an update by labels not known yet",
    **WHEN,
)
def _(patch: pytest.MonkeyPatch) -> None:
    def without(real: Any, features: pl.DataFrame, labels: pl.DataFrame, as_of: date, settings: Any, *rest: Any) -> Any:
        # The embargo of the setting is read as sessions after the close, where it is before it.
        turned = settings.model_copy(update={"embargo_sessions": -settings.embargo_sessions})
        return real(features, labels, as_of, turned, *rest)

    spoil(patch, updating, "rows_of", without)
