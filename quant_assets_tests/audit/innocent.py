"""Changes that resemble a leak of state or surroundings and are none, to plant in the real code as those are."""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from quant_assets.assets import market as market_wiring
from quant_assets.assets import portfolio as portfolio_wiring
from quant_assets.assets import signals as signal_wiring
from quant_assets.reporting import plots
from quant_assets.signals import selection
from quant_assets.sources.demo import DemoSource
from quant_assets_tests.audit.leaks import spoil


def _cached_by_inputs(patch: pytest.MonkeyPatch) -> None:
    made: dict[int, pl.DataFrame] = {}

    def cached(real: Any, *args: Any) -> pl.DataFrame:
        key = hash(tuple(int(each.hash_rows().sum()) if isinstance(each, pl.DataFrame) else 0 for each in args))
        if key not in made:
            made[key] = real(*args)
        return made[key]

    spoil(patch, signal_wiring, "compute_labels", cached)


def _reads_zones(patch: pytest.MonkeyPatch) -> None:
    def opened(real: Any, *args: Any, **more: Any) -> Any:
        ZoneInfo.no_cache("Asia/Tokyo")
        return real(*args, **more)

    spoil(patch, market_wiring, "adjust", opened)


def _writes_scratch(patch: pytest.MonkeyPatch) -> None:
    def through_a_file(real: Any, *args: Any) -> pl.DataFrame:
        rows = real(*args)
        with tempfile.TemporaryDirectory() as folder:
            rows.write_parquet(f"{folder}/rows.parquet")
            return pl.read_parquet(f"{folder}/rows.parquet")

    spoil(patch, signal_wiring, "compute_features", through_a_file)


def _looks_at_the_clock(patch: pytest.MonkeyPatch) -> None:
    def timed(real: Any, *args: Any) -> pl.DataFrame:
        began = time.time()
        rows = real(*args)
        assert time.time() >= began
        return rows

    spoil(patch, selection, "scores", timed)


def _sorts_a_set(patch: pytest.MonkeyPatch) -> None:
    spoil(
        patch,
        portfolio_wiring,
        "judge_regime",
        lambda real, *args: real(*args).with_columns(volatility=pl.col("volatility") * len(sorted({"A", "B", "C"}))),
    )


def _draws_thicker(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(plots.RC, "lines.linewidth", 2.0)


INNOCENT: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "cache by all inputs": _cached_by_inputs,
    "zones of the system": _reads_zones,
    "files in the scratch folder": _writes_scratch,
    "how long it took": _looks_at_the_clock,
    "a sorted set": _sorts_a_set,
    "thicker lines": _draws_thicker,
}


class WithOwnFile(DemoSource):
    """A provider of a user's own: the simulated market, its macro figures times what a file of its own says."""

    file: Path

    def macro(self, through: date) -> pl.DataFrame:
        """Macro observations; the file is read in a thread, as one that downloads would."""
        with ThreadPoolExecutor(1) as pool:
            factor = pool.submit(self._factor).result()
        return super().macro(through).with_columns(value=pl.col("value") * factor)

    def _factor(self) -> float:
        return float(self.file.read_text(encoding="utf-8"))
