"""Leaks of state, surroundings, order, pages and providers; what resembles one is in `innocent`.

Each is planted as those of `leaks` are. Of a kind there are several, in assets or columns of their own, so that those
of a kind can be planted together and each still be told.
"""

import contextlib
import locale
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from quant_assets.assets import operations as operations_wiring
from quant_assets.assets import portfolio as portfolio_wiring
from quant_assets.assets import research as research_wiring
from quant_assets.assets import signals as signal_wiring
from quant_assets.audit.elsewhere import Record
from quant_assets.audit.surroundings import Asked, Repeated, compute
from quant_assets.market import macro
from quant_assets.schemas import Dataset
from quant_assets.signals import selection
from quant_assets.sources import demo, files_macro
from quant_assets_tests.audit.innocent import INNOCENT
from quant_assets_tests.audit.innocents import INNOCENTS
from quant_assets_tests.audit.leaks import LEAKS, Leak, leak, own, spoil, spoil_rows

#: Leaks that are registered here, by kind.
KINDS: dict[str, list[Leak]] = {}

#: What the audit's page calls them.
CALLED = {
    "clock": "today's date or time",
    "home": "the home folder and the hash seed",
    "locale": "the machine's locale",
    "opened": "a file, network or program beside the inputs",
    "order": "rows stored in the order of a later value",
    "pages": "pages and pictures of later values",
    "provider": "a provider that answers with what it learns later",
    "state": "state that is kept between runs",
    "zone": "the machine's time zone",
}

#: Names a file that the leaks read where it is.
FILE = "LEAKED_FILE"


def of_kind(kind: str, *arguments: Any, **window: Any) -> Callable[[Any], Any]:
    """Register a leak among those of a kind."""

    def register(plant: Any) -> Any:
        leak(*arguments, kind=CALLED[kind], **window)(plant)
        KINDS.setdefault(kind, []).append(LEAKS[arguments[0]])
        return plant

    return register


def compute_planted(names: Sequence[str], asked: Asked, record: Record) -> Repeated:
    """What the process elsewhere does, with leaks planted in it too."""
    patch = pytest.MonkeyPatch()
    plants = INNOCENT | {name: each.plant for name, each in (LEAKS | INNOCENTS).items()}
    for name in names:
        plants[name](patch)
    return compute(asked, record)


# --- State between runs -----------------------------------------------------------------------------------------------

_SCALES: dict[str, float] = {}
_WARM: dict[str, float] = {}


@of_kind("state", "cache by ticker alone", "state", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    def scaled(real: Any, *args: Any) -> pl.DataFrame:
        rows = real(*args)
        for ticker, value in rows.group_by("ticker", maintain_order=True).agg(pl.col("return_20").std()).iter_rows():
            _SCALES.setdefault(ticker, value or 1.0)
        return rows.with_columns(
            return_20=pl.col("return_20") / pl.col("ticker").replace_strict(_SCALES, return_dtype=pl.Float64)
        )

    _SCALES.clear()
    spoil(patch, signal_wiring, "compute_features", scaled)


@of_kind("state", "lru_cache by month", "state", "candidates")
def _(patch: pytest.MonkeyPatch) -> None:
    given: list[pl.DataFrame] = []

    @lru_cache
    def level(month: date) -> float:
        return float(given[-1].filter(pl.col("as_of").dt.month_start() == month)["composite_score"].std() or 0.0)

    def levelled(real: Any, *args: Any) -> pl.DataFrame:
        rows = real(*args)
        given[:] = [rows]
        months = rows["as_of"].dt.month_start().unique().to_list()
        levels = {month: level(month) for month in months}
        change = pl.col("as_of").dt.month_start().replace_strict(levels, return_dtype=pl.Float64)
        return rows.with_columns(composite_score=pl.col("composite_score") + change) if months else rows

    spoil(patch, selection, "scores", levelled)


@of_kind("state", "fit that starts where the one before ended", "state", "indicators")
def _(patch: pytest.MonkeyPatch) -> None:
    def warm(real: Any, *args: Any) -> Any:
        made = real(*args)
        mean = float(made.rows["momentum"].mean() or 0.0)
        _WARM["mean"] = 0.9 * _WARM.get("mean", mean) + 0.1 * mean
        return made._replace(rows=made.rows.with_columns(momentum=pl.col("momentum") - _WARM["mean"]))

    _WARM.clear()
    spoil(patch, signal_wiring, "compute_indicators", warm)


@of_kind("state", "random numbers of the process", "state", "regime_state")
def _(patch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng(1)
    spoil(
        patch,
        portfolio_wiring,
        "judge_regime",
        lambda real, *args: real(*args).with_columns(volatility=pl.col("volatility") + drawn.random()),
    )


# --- Clock, time zone, locale, home -----------------------------------------------------------------------------------


@of_kind("clock", "age as of today", "surroundings", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_today(patch, "return_60", lambda: datetime.now(ZoneInfo("UTC")).year)


@of_kind("clock", "seconds since 1970", "surroundings", "labels")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil(
        patch,
        signal_wiring,
        "compute_labels",
        lambda real, *args: real(*args).with_columns(
            forward_return=pl.col("forward_return") * (1.0 + time.time() // 86_400)
        ),
    )


@of_kind("zone", "day of a time by the machine's zone", "surroundings", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_today(patch, "return_1", lambda: datetime.fromtimestamp(1_700_000_000).hour)  # noqa: DTZ006  # that is it


@of_kind("zone", "offset of the machine's zone", "surroundings", "macro")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil(
        patch,
        macro,
        "as_known",
        lambda real, *args: real(*args).with_columns(value=pl.col("value") + time.localtime(0).tm_gmtoff),
    )


# Only where the other process reads the files itself does it show.
@leak("figures of a file by the machine's zone", "surroundings", "macro", kind=CALLED["zone"])
def _(patch: pytest.MonkeyPatch) -> None:
    spoil(
        patch,
        files_macro,
        "observations",
        lambda real, *args, **more: real(*args, **more).with_columns(
            value=pl.col("value") + time.localtime(0).tm_gmtoff
        ),
    )


@of_kind("locale", "ties by the locale's alphabet", "surroundings", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    def ranked(real: Any, *args: Any) -> pl.DataFrame:
        rows = real(*args)
        order = sorted(rows["ticker"].unique().to_list(), key=locale.strxfrm)
        place = pl.col("ticker").replace_strict({name: number for number, name in enumerate(order)})
        return rows.with_columns(return_5=pl.col("return_5") + place.cast(pl.Float64))

    spoil(patch, signal_wiring, "compute_features", ranked)


@of_kind("locale", "name of the month", "surroundings", "market_breadth")
def _(patch: pytest.MonkeyPatch) -> None:
    def named(real: Any, *args: Any) -> pl.DataFrame:
        rows = real(*args)
        column = next(name for name, dtype in rows.schema.items() if dtype == pl.Float64)
        return rows.with_columns(pl.col(column) + (f"{date(2024, 6, 1):%B}" == "June"))

    spoil(patch, signal_wiring, "compute_market_breadth", named)


@of_kind("home", "file in the home folder", "surroundings", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    def scores() -> float:
        kept = Path.home() / "scores.txt"
        return float(kept.read_text(encoding="utf-8")) if kept.exists() else 0.0

    spoil_today(patch, "momentum_12_1", scores)


# Another in each process, so that it shows where nothing is changed.
@of_kind("home", "order of a set", "state", "candidates")
def _(patch: pytest.MonkeyPatch) -> None:
    def first(real: Any, *args: Any) -> pl.DataFrame:
        rows = real(*args)
        places = {name: number / 100 for number, name in enumerate(set(rows["ticker"].to_list()))}
        place = pl.col("ticker").replace_strict(places, return_dtype=pl.Float64)
        return rows.with_columns(momentum_score=pl.col("momentum_score") + place) if places else rows

    spoil(patch, selection, "scores", first)


def spoil_today(patch: pytest.MonkeyPatch, column: str, value: Callable[[], float]) -> None:
    """Add what a call gives to a feature."""
    spoil(
        patch,
        signal_wiring,
        "compute_features",
        lambda real, *args: real(*args).with_columns(pl.col(column) + float(value())),
    )


# --- Files, network, programs -----------------------------------------------------------------------------------------


@of_kind("opened", "CSV that no provider gave, read by Polars", "surroundings", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_today(patch, "return_20", lambda: pl.read_csv(os.environ[FILE]).item() * 0.0)


@of_kind("opened", "file read by Python", "surroundings", "labels")
def _(patch: pytest.MonkeyPatch) -> None:
    def read(real: Any, *args: Any) -> pl.DataFrame:
        Path(os.environ[FILE]).read_text(encoding="utf-8")
        return real(*args)

    spoil(patch, signal_wiring, "compute_labels", read)


@of_kind("opened", "the network", "surroundings", "candidates")
def _(patch: pytest.MonkeyPatch) -> None:
    def asked(real: Any, *args: Any) -> pl.DataFrame:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 9), timeout=0.1):
            pass
        return real(*args)

    spoil(patch, selection, "scores", asked)


@of_kind("opened", "another program", "surroundings", "regime_state")
def _(patch: pytest.MonkeyPatch) -> None:
    def asked(real: Any, *args: Any) -> pl.DataFrame:
        subprocess.run([sys.executable, "-c", ""], check=True)
        return real(*args)

    spoil(patch, portfolio_wiring, "judge_regime", asked)


# --- Order of rows ----------------------------------------------------------------------------------------------------


def _stored_by(patch: pytest.MonkeyPatch, name: str, value: pl.Expr) -> None:
    def conform(real: Any, dataset: Dataset, frame: pl.DataFrame) -> pl.DataFrame:
        rows = real(dataset, frame)
        return rows.sort(own(value), nulls_last=True, maintain_order=True) if dataset.name == name else rows

    spoil(patch, Dataset, "conform", conform)


@of_kind("order", "stored in the order of tomorrow's return", "perturbation", "features")
def _(patch: pytest.MonkeyPatch) -> None:
    _stored_by(patch, "features", pl.col("return_1").shift(-1))


@of_kind("order", "stored in the order of the next volatility", "perturbation", "indicators")
def _(patch: pytest.MonkeyPatch) -> None:
    _stored_by(patch, "indicators", pl.col("garch_volatility").shift(-1))


# --- Pages and pictures -----------------------------------------------------------------------------------------------

_PAGES = {"first": "2023-10", "last": "2023-12", "cut": date(2023, 11, 30)}


def _later(patch: pytest.MonkeyPatch) -> dict[date, pl.DataFrame]:
    """Rows of the backtest of all months of the run, also those after each report's decision."""
    kept: dict[date, pl.DataFrame] = {}

    def gathered(real: Any, sector: str, as_of: date, frames: Any, *rest: Any) -> Any:
        kept[as_of] = frames.backtest
        return real(sector, as_of, frames, *rest)

    spoil(patch, operations_wiring, "gather", gathered)
    return kept


@of_kind("pages", "report with the return of the next month", "perturbation", "ops_report", **_PAGES)
def _(patch: pytest.MonkeyPatch) -> None:
    kept = _later(patch)

    def with_next(real: Any, report: Any, *rest: Any) -> bytes:
        after = kept[report.as_of].filter(pl.col("date") > report.as_of)["net_return"].sum()
        return real(report, *rest).replace(b"</body>", f"<p>next month: {after:+.6f}</p></body>".encode())

    spoil(patch, operations_wiring, "render", with_next)


@of_kind("pages", "picture on a scale of the whole sample", "perturbation", "ops_report", **_PAGES)
def _(patch: pytest.MonkeyPatch) -> None:
    kept = _later(patch)

    def scaled(real: Any, report: Any) -> bytes:
        most = float(kept[report.as_of]["net_return"].max() or 1.0)
        return real(replace(report, track=report.track.with_columns(pl.col("growth") * (1.0 + most))))

    spoil(patch, operations_wiring, "preview_png", scaled)


@of_kind("pages", "plot with the maximum of the whole sample", "perturbation", "factor_tear_sheet", **_PAGES)
def _(patch: pytest.MonkeyPatch) -> None:
    kept: dict[str, float] = {}

    def kept_all(real: Any, statistics: pl.DataFrame, *rest: Any) -> Any:
        kept["most"] = float(statistics.select(pl.col(pl.Float64).max()).max_horizontal().item() or 0.0)
        kept["most"] += float(statistics.select(pl.col(pl.Float64).sum()).sum_horizontal().item() or 0.0)
        return real(statistics, *rest)

    spoil(patch, research_wiring, "summaries", kept_all)
    spoil(
        patch,
        research_wiring,
        "render",
        lambda real, *args: real(*args).replace(
            b"</body>", f"<svg data-most='{kept['most']!r}'></svg></body>".encode()
        ),
    )


# --- Providers --------------------------------------------------------------------------------------------------------


@of_kind("provider", "provider with tomorrow's close", "provider", "ohlcv")
def _(patch: pytest.MonkeyPatch) -> None:
    def tomorrows(real: Any, *args: Any) -> pl.DataFrame:
        rows = real(*args)
        return rows.with_columns(close=own(pl.col("close").shift(-1)).fill_null(pl.col("close")))

    spoil(patch, demo, "_bars", tomorrows)


@of_kind("provider", "provider with restated figures from the first publication on", "provider", "fundamentals")
def _(patch: pytest.MonkeyPatch) -> None:
    final = pl.col("revenue").last().over("ticker", "period_end", order_by="version")
    spoil_rows(patch, demo, "_statements", revenue=final)
