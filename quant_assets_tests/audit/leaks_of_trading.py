"""Leaks of what trading costs, planted where the book takes its rates from."""

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.assets import trading as trading_wiring
from quant_assets.backtest import book
from quant_assets_tests.audit.leaks import leak, spoil

#: In whose settings these are planted: costs that follow from bars.
BACKTEST: dict[str, Any] = {"costs": "itemised", "spread": "corwin_schultz"}


def with_shorts(patch: pytest.MonkeyPatch) -> None:
    """Half of the decided names are sold short: nothing of it looks ahead."""

    def simulated(real: Any, weights: pl.DataFrame, *args: Any, **kwargs: Any) -> Any:
        short = pl.int_range(pl.len()).over("as_of") % 2 == 1
        weights = weights.sort("as_of", "ticker").with_columns(
            weight=pl.when(short).then(-pl.col("weight")).otherwise("weight")
        )
        return real(weights, *args, **kwargs)

    spoil(patch, trading_wiring, "simulated", simulated)


@leak(
    "a borrow fee by how far the short falls in the end",
    "perturbation",
    "backtest_costs",
    kind="a borrow fee known later",
)
def _(patch: pytest.MonkeyPatch) -> None:
    with_shorts(patch)

    def carried(real: Any, price: np.ndarray, mark: np.ndarray, *args: Any, **kwargs: Any) -> Any:
        commission, borrow, *rest = kwargs["rates"]
        last = np.array([row[np.isfinite(row)][-1] if np.isfinite(row).any() else 1.0 for row in mark.T])
        fallen = float(np.nanmean(last / np.nanmax(mark, axis=0)))
        return real(price, mark, *args, **kwargs | {"rates": (commission, borrow * (2.0 - fallen), *rest)})

    spoil(patch, book, "carried", carried)


@leak(
    "half the spread of the next session",
    "perturbation",
    "backtest_costs",
    kind="a cost from the next session's spread",
    cut=date(2023, 11, 1),
)
def _(patch: pytest.MonkeyPatch) -> None:
    def later(real: Any, *args: Any) -> np.ndarray:
        known = real(*args)
        return np.concatenate([known[:, 2:], known[:, -2:]], axis=1)

    spoil(patch, book, "half_spread", later)
