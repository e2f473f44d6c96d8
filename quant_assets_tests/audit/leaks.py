"""Leaks to plant in the real code, one at a time: what each breaks, where, and the kind of test that must see it.

A leak is what somebody might write by mistake: the real function is replaced by one that does its work and then looks
ahead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import wraps
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.assets import learning as learning_wiring
from quant_assets.assets import market as market_wiring
from quant_assets.assets import portfolio as portfolio_wiring
from quant_assets.assets import signals as signal_wiring
from quant_assets.audit.findings import TestName
from quant_assets.learning import training
from quant_assets.learning.splits import Fold, purged_walk_forward
from quant_assets.market import fundamentals, macro, placement, universe
from quant_assets.signals import selection
from quant_assets.windows.windows import Windows

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Leak:
    """One planted leak.

    Attributes:
        name: what it is called.
        test: the kind of test that must fail.
        asset: the dataset in which it must be found.
        plant: puts it into the real code.
        kind: of mistake, as the table of docs/audit.md has it [default: the name, a kind of its own].
        full: whether only `--full` has the days on which it shows.
        first: first month of the audit.
        last: its last month.
        cut: what is known later is altered.
        start: first month of the profile.
        reach: months up to the cut that are computed again.
        with_tests: tests that run too, where the audit would otherwise compute only the months of one.
        sector: slug.
        settings: of the profile, beside those of the tests.

    """

    name: str
    test: TestName
    asset: str
    plant: Plant
    first: str = "2023-10"
    last: str = "2023-12"
    cut: date = date(2023, 11, 15)
    start: str = "2022-12"
    reach: int = 3
    with_tests: tuple[TestName, ...] = ()
    kind: str = ""
    full: bool = False
    sector: str = "cons_staples"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.kind or self.name)


def leak(name: str, test: TestName, asset: str, **more: Any) -> Callable[[Plant], Plant]:
    """Register the function that plants a leak; a name is taken once."""

    def register(plant: Plant) -> Plant:
        assert name not in LEAKS, name
        LEAKS[name] = Leak(name, test, asset, plant, **more)
        return plant

    return register


LEAKS: dict[str, Leak] = {}


def leaks_of(module: str) -> list[Leak]:
    """Those that a module of leaks has registered."""
    return [each for each in LEAKS.values() if each.plant.__module__ == module]


def plant_in_process(name: str) -> None:
    """Plant a leak for as long as this process lives."""
    LEAKS[name].plant(pytest.MonkeyPatch())


def spoil(patch: pytest.MonkeyPatch, where: object, name: str, change: Callable[..., Any]) -> None:
    """Replace a function by `change(real, *arguments)`."""
    real = getattr(where, name)

    @wraps(real)
    def spoiled(*args: Any, **kwargs: Any) -> Any:
        return change(real, *args, **kwargs)

    patch.setattr(where, name, spoiled)


def spoil_simulation(patch: pytest.MonkeyPatch, change: Callable[..., pl.DataFrame]) -> None:
    """Replace the simulations of sectors and of the total portfolio: `change(real, *arguments)` gives their rows."""
    spoil(patch, portfolio_wiring, "simulate", change)

    def spoiled(real: Any, *args: Any, **kwargs: Any) -> Any:
        frame = change(lambda *given, **named: real(*given, **named).frame, *args, **kwargs)
        return replace(real(*args, **kwargs), frame=frame)

    spoil(patch, portfolio_wiring, "simulated", spoiled)


def spoil_rows(patch: pytest.MonkeyPatch, where: object, name: str, **columns: pl.Expr) -> None:
    """Replace columns of the frame that a function returns; its rows are sorted by ticker and date."""
    spoil(patch, where, name, lambda real, *args, **kwargs: real(*args, **kwargs).with_columns(**columns))


def own(value: pl.Expr) -> pl.Expr:
    return value.over("ticker")


# --- Universe, prices, statements, macro ------------------------------------------------------------------------------


@leak("survivors only", "perturbation", "universe")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil(
        patch,
        universe,
        "members",
        lambda real, members, *rest: real(members.filter(pl.col("end_date").is_null()), *rest),
    )


@leak("today's sector map", "perturbation", "universe", kind="a map of a later day")
def _(patch: pytest.MonkeyPatch) -> None:
    def todays(real: Any, snapshots: pl.DataFrame, sessions: Any) -> pl.DataFrame:
        newest = snapshots.sort("ticker", "known_at").unique("ticker", keep="last", maintain_order=True)
        return real(newest, sessions)

    spoil(patch, placement, "spells", todays)


@leak("prices adjusted backwards", "perturbation", "prices", kind="a scale anchored at the end of the data")
def _(patch: pytest.MonkeyPatch) -> None:
    def backwards(real: Any, ohlcv: pl.DataFrame) -> pl.DataFrame:
        return real(
            ohlcv.sort("ticker", "date").with_columns(
                price_factor=own(pl.col("price_factor") / pl.col("price_factor").last())
            )
        )

    spoil(patch, market_wiring, "adjust", backwards)


@leak("maximum of the full sample", "perturbation", "price_peaks", kind="a statistic over the whole sample")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(patch, market_wiring, "peaks", close=own(pl.col("close").max()))


@leak(
    "statements joined on the end of their period",
    "publication",
    "fundamentals",
    kind="a join on the period, not on the publication",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def at_period_end(real: Any, statements: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        return real(statements.with_columns(published=pl.col("period_end")), *rest)

    spoil(patch, fundamentals, "as_known", at_period_end)


# A statement of January 2024 is restated in May: nothing else of the simulated market would show it.
@leak(
    "restated figures from the first publication on",
    "perturbation",
    "fundamentals",
    kind="a later revision in place of the first",
    first="2024-01",
    last="2024-05",
    cut=date(2024, 4, 10),
    reach=4,
)
def _(patch: pytest.MonkeyPatch) -> None:
    def restated(real: Any, statements: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        final = pl.col("revenue").sort_by("version").last().over("ticker", "period_end", "frequency", "provider")
        return real(statements.with_columns(revenue=final), *rest)

    spoil(patch, fundamentals, "as_known", restated)


@leak("whichever row the file has first", "order", "fundamentals", kind="ties broken by position")
def _(patch: pytest.MonkeyPatch) -> None:
    def first_row(real: Any, statements: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        return real(statements.with_columns(shares=own(pl.col("shares").first())), *rest)

    spoil(patch, fundamentals, "as_known", first_row)


@leak("macro without its release lag", "publication", "macro", kind="a join on the period, not on the publication")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil(patch, macro, "as_known", lambda real, given, days: real(given.with_columns(released=pl.col("period")), days))


# --- Indicators, features, labels -------------------------------------------------------------------------------------


@leak("centred window", "truncation", "indicators", kind="a window that reaches ahead")
def _(patch: pytest.MonkeyPatch) -> None:
    def centred(real: Any, windows: Windows, values: np.ndarray, window: int) -> np.ndarray:
        trailing, ahead = real(windows, values, window), window // 2
        return np.concatenate([trailing[:, ahead:], trailing[:, -ahead:]], axis=1)

    spoil(patch, Windows, "mean", centred)


@leak("volatility fitted on the whole month", "truncation", "indicators", kind="a statistic over the calendar month")
def _(patch: pytest.MonkeyPatch) -> None:
    def of_month_end(real: Any, *args: Any) -> Any:
        made = real(*args)
        month = pl.col("date").dt.month_start()
        return made._replace(rows=made.rows.with_columns(pl.col("garch_volatility").last().over("ticker", month)))

    spoil(patch, signal_wiring, "compute_indicators", of_month_end)


@leak(
    "mean since the first row",
    "warm_up",
    "indicators",
    kind="a window longer than it says",
    first="2024-03",
    last="2024-06",
    cut=date(2024, 4, 15),
    with_tests=("perturbation",),
)
def _(patch: pytest.MonkeyPatch) -> None:
    def since_the_start(real: Any, windows: Windows, values: np.ndarray, window: int) -> np.ndarray:
        seen = np.cumsum(~np.isnan(values), axis=1)
        return np.where(np.isnan(values), np.nan, np.nancumsum(values, axis=1) / np.maximum(seen, 1))

    spoil(patch, Windows, "mean", since_the_start)


@leak("negative shift", "truncation", "features", kind="a shift")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(patch, signal_wiring, "compute_features", return_5=own(pl.col("return_5").shift(-1)))


@leak(
    "negative shift whose last rows are dropped", "perturbation", "features", kind="a shift whose last rows are dropped"
)
def _(patch: pytest.MonkeyPatch) -> None:
    def tomorrow(real: Any, *args: Any) -> pl.DataFrame:
        rows = real(*args).with_columns(tomorrow=own(pl.col("return_1").shift(-1)))
        return rows.drop_nulls("tomorrow").with_columns(return_1=pl.col("tomorrow")).drop("tomorrow")

    spoil(patch, signal_wiring, "compute_features", tomorrow)


@leak("z-score of the full sample", "perturbation", "features", kind="a statistic over the whole sample")
def _(patch: pytest.MonkeyPatch) -> None:
    value = pl.col("realised_volatility_60")
    spoil_rows(
        patch, signal_wiring, "compute_features", realised_volatility_60=own((value - value.mean()) / value.std())
    )


# The feature has its first values in December.
@leak("bfill", "perturbation", "features", kind="a fill from later rows")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(
        patch,
        signal_wiring,
        "compute_features",
        momentum_12_1=own(pl.col("momentum_12_1").fill_null(strategy="backward")),
    )


@leak("mean over the other tickers, not declared", "company", "features", kind="a value of other tickers, not declared")
def _(patch: pytest.MonkeyPatch) -> None:
    value = pl.col("realised_volatility_20")
    spoil_rows(patch, signal_wiring, "compute_features", realised_volatility_20=value - value.mean().over("date"))


@leak(
    "level of the adjusted price",
    "warm_up",
    "features",
    kind="a level that history's start decides",
    first="2024-05",
    last="2024-05",
    cut=date(2024, 5, 15),
    start="2021-09",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def level(real: Any, prices: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        close = prices.select("ticker", "date", level="close")
        rows = real(prices, *rest).join(close, on=["ticker", "date"], how="left")
        return rows.with_columns(return_20=pl.col("return_20") * pl.col("level")).drop("level")

    spoil(patch, signal_wiring, "compute_features", level)


@leak("labels known at their entry", "truncation", "labels", kind="a label known too early")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(patch, signal_wiring, "compute_labels", known_at=pl.col("entry_date"))


# --- Learning ---------------------------------------------------------------------------------------------------------


@leak(
    "target encoding",
    "truncation",
    "lightgbm_checkpoint",
    kind="an encoding by labels not known yet",
    first="2023-12",
    cut=date(2023, 12, 29),
)
def _(patch: pytest.MonkeyPatch) -> None:
    def encoded(real: Any, features: pl.DataFrame, labels: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        mean = labels.group_by("ticker").agg(return_20=pl.col("forward_return").mean()).sort("ticker")
        return real(features.drop("return_20").join(mean, on="ticker", how="left"), labels, *rest)

    spoil(patch, training, "training_rows", encoded)


@leak("labels that are not known yet", "learning", "lightgbm_checkpoint", kind="a label known too early")
def _(patch: pytest.MonkeyPatch) -> None:
    def too_early(real: Any, features: pl.DataFrame, labels: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        return real(features, labels.with_columns(known_at=pl.col("date")), *rest)

    spoil(patch, training, "training_rows", too_early)


@leak("features of the next session", "learning", "lightgbm_checkpoint", kind="features and labels of different rows")
def _(patch: pytest.MonkeyPatch) -> None:
    def shifted(real: Any, features: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        return real(
            features.sort("ticker", "date").with_columns(date=own(pl.col("date").shift(1))).drop_nulls("date"), *rest
        )

    spoil(patch, training, "training_rows", shifted)


def _spoil_folds(patch: pytest.MonkeyPatch, change: Callable[[list[Fold], Any, Any], list[Fold]]) -> None:
    def spoiled(dates: Any, known_at: Any, folds: int, embargo: int) -> list[Fold]:
        return change(purged_walk_forward(dates, known_at, folds, embargo), dates, known_at)

    patch.setattr(training, "purged_walk_forward", spoiled)


@leak("purge that counts rows", "learning", "lightgbm_checkpoint", kind="a purge that counts rows")
def _(patch: pytest.MonkeyPatch) -> None:
    def by_rows(folds: list[Fold], dates: Any, known_at: Any) -> list[Fold]:
        # Twenty rows before the validation slice are left out: less than one session of twenty-two tickers.
        starts = [int(np.searchsorted(dates, dates[fold.validation].min())) for fold in folds]
        rows = np.arange(len(dates))
        return [replace(fold, train=rows < start - 20) for fold, start in zip(folds, starts, strict=True)]

    _spoil_folds(patch, by_rows)


@leak("split after shuffling", "learning", "lightgbm_checkpoint", kind="a shuffled split")
def _(patch: pytest.MonkeyPatch) -> None:
    def shuffled(folds: list[Fold], dates: Any, known_at: Any) -> list[Fold]:
        order = np.random.default_rng(0).permutation(len(dates))
        return [Fold(fold.train[order], fold.validation[order], fold.test[order]) for fold in folds]

    _spoil_folds(patch, shuffled)


@leak("early stopping on the test slice", "learning", "lightgbm_checkpoint", kind="a choice on the test slice")
def _(patch: pytest.MonkeyPatch) -> None:
    def on_test(folds: list[Fold], dates: Any, known_at: Any) -> list[Fold]:
        return [replace(fold, validation=fold.test) if fold.test.any() else fold for fold in folds]

    _spoil_folds(patch, on_test)


@leak(
    "the newest checkpoint of all",
    "perturbation",
    "predictions",
    kind="a later checkpoint",
    first="2023-11",
    last="2024-01",
    cut=date(2023, 12, 15),
)
def _(patch: pytest.MonkeyPatch) -> None:
    def newest(real: Any, checkpoints: pl.DataFrame, *rest: Any) -> list[pl.DataFrame]:
        trained = checkpoints.filter(pl.col("status") == "trained")
        return [trained.filter(pl.col("as_of") == pl.col("as_of").max()).sort("horizon")]

    spoil(patch, learning_wiring, "usable_checkpoints", newest)


# --- Decisions and what came of them ----------------------------------------------------------------------------------


@leak("scores standardised over all sessions", "perturbation", "candidates", kind="a statistic over the whole sample")
def _(patch: pytest.MonkeyPatch) -> None:
    score = pl.col("composite_score")
    spoil_rows(patch, selection, "scores", composite_score=(score - score.mean()) / score.std())


@leak("smoothed path of regimes", "truncation", "regime_state", kind="a smoothed path")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(
        patch,
        portfolio_wiring,
        "judge_regime",
        volatility=pl.col("volatility").rolling_mean(3, min_samples=1, center=True),
    )


@leak(
    "volatility of the session after",
    "perturbation",
    "weights",
    kind="a shift",
    first="2023-11",
    cut=date(2023, 11, 30),
)
def _(patch: pytest.MonkeyPatch) -> None:
    def later(
        real: Any, candidates: pl.DataFrame, predictions: pl.DataFrame, indicators: pl.DataFrame, *rest: Any
    ) -> pl.DataFrame:
        shifted = indicators.sort("ticker", "date").with_columns(own(pl.col("garch_volatility").shift(-1)))
        return real(candidates, predictions, shifted, *rest)

    spoil(patch, portfolio_wiring, "sector_weights", later)


@leak("execution at the close that decided", "execution", "backtest")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_simulation(patch, lambda real, *args, **kwargs: real(*args, **kwargs | {"entry_lag": 0}))
