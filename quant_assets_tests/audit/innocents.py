"""Changes of the real code or its settings that look at nothing later, one at a time: none may raise an alarm.

Each resembles a leak in something: it ranks, fills, caches, carries, draws, waits or takes few rows.
"""

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.assets import market as market_wiring
from quant_assets.assets import portfolio as portfolio_wiring
from quant_assets.assets import signals as signal_wiring
from quant_assets.features.cross_section import compared
from quant_assets.market import fundamentals, macro, universe
from quant_assets.windows.windows import Windows
from quant_assets_tests.audit.leaks import spoil, spoil_rows
from quant_assets_tests.graph import SMALL

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Innocent:
    """One innocent change.

    Attributes:
        name: what it is called.
        assets: the datasets that are audited.
        plant: puts it into the real code.
        settings: groups in which the run differs from other tests' small settings.
        trains: whether models are trained.

    """

    name: str
    assets: tuple[str, ...]
    plant: Plant
    settings: Mapping[str, Any] = field(default_factory=dict)
    trains: bool = False


INNOCENTS: dict[str, Innocent] = {}


def innocent(name: str, *assets: str, **more: Any) -> Callable[[Plant], Plant]:
    """Register the function that plants an innocent change; a name is taken once."""

    def register(plant: Plant) -> Plant:
        assert name not in INNOCENTS, name
        INNOCENTS[name] = Innocent(name, assets, plant, **more)
        return plant

    return register


# --- What is computed ------------------------------------------------------------------------------------------------


@innocent("rows handed over in reverse", "features", "indicators")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil(patch, signal_wiring, "compute_features", lambda real, *args: real(*args).reverse())
    spoil(patch, signal_wiring, "compute_indicators", lambda real, *args: _reversed(real(*args)))


def _reversed(made: Any) -> Any:
    return made._replace(rows=made.rows.reverse())


@innocent("bars that come in by day, not by ticker", "prices")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil(patch, market_wiring, "adjust", lambda real, ohlcv: real(ohlcv.sort("date", "ticker").sort("ticker", "date")))


@innocent("a cache keyed by everything", "indicators")
def _(patch: pytest.MonkeyPatch) -> None:
    kept: dict[tuple[bytes, bytes, tuple[int, ...], int], np.ndarray] = {}

    def cached(real: Any, windows: Windows, values: np.ndarray, window: int) -> np.ndarray:
        given = hashlib.sha256(np.ascontiguousarray(values).tobytes()).digest()
        # Windows of another panel are computed anew: every attribute that holds an array counts.
        arrays = [each.tobytes() for each in vars(windows).values() if isinstance(each, np.ndarray)]
        panel = hashlib.sha256(b"".join(arrays)).digest()
        key = (given, panel, values.shape, window)
        if key not in kept:
            kept[key] = real(windows, values, window)
        return kept[key].copy()

    spoil(patch, Windows, "mean", cached)


@innocent("a slower formula with the same result", "indicators", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    def slowly(real: Any, windows: Windows, values: np.ndarray, window: int) -> np.ndarray:
        fast = real(windows, values, window)
        slow = -windows.lowest(-values, window)
        return np.where(np.isnan(fast), fast, slow)

    spoil(patch, Windows, "highest", slowly)


@innocent("a null filled with a constant", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(patch, signal_wiring, "compute_features", momentum_12_1=pl.col("momentum_12_1").fill_null(0.0))


@innocent("a column without a value in most rows", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    value = pl.col("return_5")
    spoil_rows(patch, signal_wiring, "compute_features", return_5=pl.when(value.abs() > 0.05).then(value))


@innocent("returns cut at a bound", "features", "labels")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(patch, signal_wiring, "compute_features", return_1=pl.col("return_1").clip(-0.01, 0.01))
    spoil_rows(patch, signal_wiring, "compute_labels", forward_return=pl.col("forward_return").clip(-0.02, 0.02))


@innocent("a highest value since the first of the month", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    month = pl.col("date").dt.month_start()
    spoil_rows(patch, signal_wiring, "compute_features", return_1=pl.col("return_1").cum_max().over("ticker", month))


@innocent("noise that ticker and day decide", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    draw = (pl.struct("ticker", "date").hash(7) % 1_000).cast(pl.Float64) / 1e6
    spoil_rows(patch, signal_wiring, "compute_features", return_20=pl.col("return_20") + draw)


@innocent("a feature from a carried row", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(patch, signal_wiring, "compute_features", close_to_peak=pl.col("close_to_peak") ** 2)


@innocent("a rank within the session", "features", settings={"features": {"modules": ("innocent_features",)}})
def _(patch: pytest.MonkeyPatch) -> None:
    module = ModuleType("innocent_features")
    module.FEATURES = [compared("return_5", "sector", "rank")]  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "innocent_features", module)


@innocent("a regime's volatility in other units", "regime_state")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(patch, portfolio_wiring, "judge_regime", volatility=100.0 * pl.col("volatility"))


@innocent("ties by name, not by position", "candidates")
def _(patch: pytest.MonkeyPatch) -> None:
    def coarse(real: Any, *args: Any) -> Any:
        made = real(*args)
        rows = made.rows.with_columns(pl.col("momentum").round(2)) if "momentum" in made.rows.columns else made.rows
        return made._replace(rows=rows)

    spoil(patch, signal_wiring, "compute_indicators", coarse)


# --- What comes in ----------------------------------------------------------------------------------------------------


@innocent("a provider's late statement", "fundamentals", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    def corrected(real: Any, statements: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        period = ["ticker", "period_end", "frequency", "provider"]
        last = statements.sort("version").unique(period, keep="last", maintain_order=True)
        later = last.with_columns(
            version=pl.col("version") + 1,
            published=pl.col("published") + pl.duration(days=40),
            revenue=pl.col("revenue") * 1.01,
        )
        return real(pl.concat([statements, later.drop_nulls("published")]), *rest)

    spoil(patch, fundamentals, "as_known", corrected)


@innocent("macro figures a week after their release", "macro", "regime_state")
def _(patch: pytest.MonkeyPatch) -> None:
    def later(real: Any, given: pl.DataFrame, days: Any) -> pl.DataFrame:
        return real(
            given.with_columns(released=pl.col("released") + pl.duration(days=7), lag_days=pl.col("lag_days") + 7),
            days,
        )

    spoil(patch, macro, "as_known", later)


@innocent("a sector with three members", "universe", "features", "indicators", "candidates", "labels")
def _(patch: pytest.MonkeyPatch) -> None:
    # By name alone: which tickers these are follows from no day.
    few = ["STA04", "STA09", "STA12"]
    spoil(patch, universe, "members", lambda real, *args: real(*args).filter(pl.col("ticker").is_in(few)))


@innocent("members by a rule on their name", "universe", "features", "candidates")
def _(patch: pytest.MonkeyPatch) -> None:
    def some(real: Any, *args: Any) -> pl.DataFrame:
        return real(*args).filter(pl.col("ticker").str.tail(1).is_in(["1", "2", "3", "4"]))

    spoil(patch, universe, "members", some)


# --- Other settings ---------------------------------------------------------------------------------------------------


@innocent("statements a month late", "fundamentals", "features", settings={"fundamentals": {"min_lag_days": 30}})
@innocent("entry two sessions later", "labels", settings={"labels": {"horizons": (5, 20), "entry_lag": 2}})
@innocent("a longer lookback", "regime_state", settings={"regime": {"drawdown_sessions": 120}})
@innocent(
    "small training windows",
    "lightgbm_checkpoint",
    "predictions",
    trains=True,
    settings={"training": {"window_months": 6, "min_rows": 100, "folds": 2}},
)
def _(patch: pytest.MonkeyPatch) -> None:
    """The settings alone."""


def settings_of(each: Innocent) -> dict[str, Any]:
    """The settings of its run: groups of other tests, with its own."""
    untrained = {} if each.trains else {"training": {"min_rows": 1_000_000}}
    groups = {**untrained, **each.settings}
    return {name: {**SMALL.get(name, {}), **own_group} for name, own_group in groups.items()}
