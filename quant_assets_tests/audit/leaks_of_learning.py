"""Leaks of learning, labels and execution to plant in the real code: preprocessing, selection and prices that know more
than they may."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.assets import learning as learning_wiring
from quant_assets.assets import signals as signal_wiring
from quant_assets.learning import out_of_fold, training
from quant_assets.learning.models.lightgbm import LightGBM, Trees
from quant_assets.learning.rows import Rows
from quant_assets_tests.audit.leaks import leak, own, spoil, spoil_simulation

TRAINER = "lightgbm_checkpoint"


def prepared(patch: pytest.MonkeyPatch, change: Callable[[pl.DataFrame, Sequence[str]], pl.DataFrame]) -> None:
    """Change the rows of a training before they are split."""
    spoil(patch, training, "training_rows", lambda real, *args: change(real(*args), args[-1]))


def row_by_row(patch: pytest.MonkeyPatch) -> None:
    """Features cut and scaled by numbers that were settled before, missing ones filled with 0."""

    def cut(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        return rows.with_columns((pl.col(name).clip(-5.0, 5.0) / 2.0).fill_null(0.0) for name in names)

    prepared(patch, cut)


def within_a_session(patch: pytest.MonkeyPatch) -> None:
    """Features ranked among the names of their session."""

    def ranked(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        return rows.with_columns(pl.col(name).rank().over("date") / pl.len().over("date") for name in names)

    prepared(patch, ranked)


def medians_of_training_rows(patch: pytest.MonkeyPatch) -> None:
    """Each fit fills what is missing by the medians of its own training rows, and is asked so, too."""

    def filled(rows: Rows, fill: np.ndarray) -> Rows:
        return replace(rows, matrix=np.where(np.isnan(rows.matrix), fill, rows.matrix))

    def fit(real: Any, self: LightGBM, rows: Rows, validation: Rows, seed: int) -> Trees:
        middle = np.ma.median(np.ma.masked_invalid(rows.matrix), axis=0).filled(0.0)
        model = real(self, filled(rows, middle), filled(validation, middle), seed)
        model.fill = middle
        return model

    def predict(real: Any, self: Trees, rows: Rows) -> Any:
        return real(self, rows if self.fill is None else filled(rows, self.fill))

    spoil(patch, LightGBM, "_fit", fit)
    spoil(patch, Trees, "_predict", predict)


def trees_chosen_on_the_validation_slice(patch: pytest.MonkeyPatch) -> None:
    """The number of trees is that of several which forecasts the validation rows best."""

    def chosen(real: Any, self: LightGBM, rows: Rows, validation: Rows, seed: int) -> Trees:
        models = [
            real(LightGBM(self.name, self.parameters.model_dump() | {"num_trees": trees}), rows, validation, seed)
            for trees in (5, 20, 60)
        ]
        return min(models, key=lambda each: float(((each._predict(validation).mean - validation.targets) ** 2).sum()))

    spoil(patch, LightGBM, "_fit", chosen)


#: Changes that look at nothing later.
INNOCENT = (row_by_row, within_a_session, medians_of_training_rows, trees_chosen_on_the_validation_slice)


# --- Preprocessing over all rows --------------------------------------------------------------------------------------


@leak("missing features filled by medians over all rows", "learning", TRAINER, kind="preprocessing over all rows")
def _(patch: pytest.MonkeyPatch) -> None:
    def filled(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        return rows.with_columns(pl.col(name).fill_null(pl.col(name).median()) for name in names)

    prepared(patch, filled)


@leak("features scaled over all rows", "learning", TRAINER, kind="preprocessing over all rows")
def _(patch: pytest.MonkeyPatch) -> None:
    def scaled(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        values = {name: pl.col(name).cast(pl.Float64) for name in names}
        return rows.with_columns(((each - each.mean()) / each.std()).alias(name) for name, each in values.items())

    prepared(patch, scaled)


@leak("features ranked over all rows", "learning", TRAINER, kind="preprocessing over all rows")
def _(patch: pytest.MonkeyPatch) -> None:
    prepared(
        patch,
        lambda rows, names: rows.with_columns(
            (pl.col(name).rank() / pl.col(name).count()).alias(name) for name in names
        ),
    )


@leak("one feature's missing values filled from later rows", "learning", TRAINER, kind="preprocessing over all rows")
def _(patch: pytest.MonkeyPatch) -> None:
    value = pl.col("momentum_12_1")
    prepared(patch, lambda rows, _: rows.with_columns(own(value.fill_null(strategy="backward"))))


@leak("returns cut at bounds over all rows", "learning", TRAINER, kind="targets made of all rows")
def _(patch: pytest.MonkeyPatch) -> None:
    value = pl.col("forward_return")
    prepared(patch, lambda rows, _: rows.with_columns(value.clip(value.quantile(0.05), value.quantile(0.95))))


@leak("returns standardised over all rows", "learning", TRAINER, kind="targets made of all rows")
def _(patch: pytest.MonkeyPatch) -> None:
    value = pl.col("forward_return")
    prepared(patch, lambda rows, _: rows.with_columns((value - value.mean()) / value.std()))


@leak("targets made of all rows at once", "learning", TRAINER, kind="targets made of all rows")
def _(patch: pytest.MonkeyPatch) -> None:
    # The median of all rows, where each is to be held against those of its own session.
    spoil(
        patch,
        training,
        "_train",
        lambda real, frame, *rest: real(
            frame.with_columns((pl.col(name) - pl.col(name).median()) for name in frame.columns if "|" in name), *rest
        ),
    )


# --- Selection over all rows ------------------------------------------------------------------------------------------


@leak(
    "features chosen by their correlation with all labels",
    "learning",
    TRAINER,
    kind="features or rows chosen over all rows",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def chosen(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        found = rows.select(pl.corr(pl.col(name).cast(pl.Float64), "forward_return").abs() for name in names)
        ranked = sorted(names, key=lambda name: -(np.nan_to_num(found[name].item() or 0.0)))
        return rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ranked[12:])

    prepared(patch, chosen)


@leak("mean return of each ticker as a feature", "learning", TRAINER, kind="an encoding by labels not known yet")
def _(patch: pytest.MonkeyPatch) -> None:
    prepared(patch, lambda rows, _: rows.with_columns(return_20=own(pl.col("forward_return").mean())))


@leak(
    "rows left out that lie far from the mean of all", "learning", TRAINER, kind="features or rows chosen over all rows"
)
def _(patch: pytest.MonkeyPatch) -> None:
    value = pl.col("forward_return")
    prepared(patch, lambda rows, _: rows.filter((value - value.mean()).abs() <= 1.5 * value.std()))


def _as_given(frame: pl.DataFrame, names: Any, horizons: Any, settings: Any, learner: Any) -> Rows:
    """All rows of a training as a model gets them."""
    return training.with_targets(Rows.of(frame, names, horizons), frame.drop(names), settings, learner.task)


@leak("trees chosen by hand on the test slices", "learning", TRAINER, kind="a choice on the test slice")
def _(patch: pytest.MonkeyPatch) -> None:
    def tuned(real: Any, frame: pl.DataFrame, as_of: Any, settings: Any, predicting: Any, learner: Any, *rest: Any):  # type: ignore[no-untyped-def]
        horizons, names = rest[0], rest[2]
        dates, known_at = frame["date"].to_numpy(), frame["known_at"].to_numpy()
        folds = training.purged_walk_forward(dates, known_at, settings.folds, settings.embargo_sessions)
        rows = _as_given(frame, names, horizons, settings, learner)

        def error(trees: int) -> float:
            parameters = learner.parameters.model_dump() | {"num_trees": trees}
            found = 0.0
            for fold in folds[:-1]:
                model = LightGBM(learner.name, parameters)._fit(rows.where(fold.train), rows.where(fold.validation), 1)
                test = rows.where(fold.test)
                found += float(((model.predict(test).mean - test.targets) ** 2).sum())
            return found

        best = LightGBM(learner.name, learner.parameters.model_dump() | {"num_trees": min((2, 8, 30), key=error)})
        return real(frame, as_of, settings, predicting, best, *rest)

    spoil(patch, training, "_train", tuned)


def _handed(patch: pytest.MonkeyPatch) -> list[Rows]:
    """The rows of the training that is going on, before they are split."""
    found: list[Rows] = []

    def kept(real: Any, frame: pl.DataFrame, as_of: Any, settings: Any, predicting: Any, learner: Any, *rest: Any):  # type: ignore[no-untyped-def]
        horizons, names = rest[0], rest[2]
        found[:] = [_as_given(frame, names, horizons, settings, learner)]
        return real(frame, as_of, settings, predicting, learner, *rest)

    spoil(patch, training, "_train", kept)
    return found


@leak(
    "early stopping on whatever comes after the validation slice",
    "learning",
    TRAINER,
    kind="a choice on the test slice",
)
def _(patch: pytest.MonkeyPatch) -> None:
    handed = _handed(patch)

    def stopped_later(real: Any, self: LightGBM, rows: Rows, validation: Rows, seed: int) -> Trees:
        later = handed[-1].where(handed[-1].dates > validation.dates.max())
        return real(self, rows, later if len(later) else validation, seed)

    spoil(patch, LightGBM, "_fit", stopped_later)


@leak("size of the forecasts chosen when they are made", "learning", TRAINER, kind="a choice on the test slice")
def _(patch: pytest.MonkeyPatch) -> None:
    handed = _handed(patch)
    spoil(patch, Trees, "_predict", lambda real, self, rows: _best_size(handed, real(self, rows), rows))


def _best_size(handed: list[Rows], found: Any, rows: Rows) -> Any:
    """The forecasts times a number that the rows' own targets choose."""
    if not handed or len(rows) != int(np.isin(handed[-1].dates, np.unique(rows.dates)).sum()):
        return found
    outcome = handed[-1].where(np.isin(handed[-1].dates, np.unique(rows.dates))).targets
    sizes = [factor * found.mean for factor in (-1.0, 0.5, 1.0, 2.0)]
    return replace(found, mean=min(sizes, key=lambda each: float(((each - outcome) ** 2).sum())))


@leak("size of all but the last slice's forecasts", "learning", TRAINER, kind="a choice on an earlier slice", full=True)
def _(patch: pytest.MonkeyPatch) -> None:
    handed = _handed(patch)

    def earlier(real: Any, self: Trees, rows: Rows) -> Any:
        found = real(self, rows)
        return _best_size(handed, found, rows) if handed and rows.dates.max() < handed[-1].dates.max() else found

    spoil(patch, Trees, "_predict", earlier)


# --- Judging on what was calibrated -----------------------------------------------------------------------------------


def _judged(patch: pytest.MonkeyPatch, forecast: pl.Expr) -> None:
    for name in ("evaluate", "measured"):  # a fold, and all of them
        spoil(patch, out_of_fold, name, lambda real, frame, *rest: real(frame.with_columns(prediction=forecast), *rest))


@leak(
    "forecasts calibrated on the slice that judges them",
    "learning",
    TRAINER,
    kind="calibration on the slice that judges",
)
def _(patch: pytest.MonkeyPatch) -> None:
    x, y = pl.col("prediction"), pl.col("forward_return")
    slope = pl.when(x.var() > 0.0).then(pl.cov(x, y) / x.var()).otherwise(0.0)
    _judged(patch, y.mean() + slope * (x - x.mean()))


@leak(
    "forecasts moved to each ticker's mean of the slice that judges them",
    "learning",
    TRAINER,
    kind="calibration on the slice that judges",
)
def _(patch: pytest.MonkeyPatch) -> None:
    _judged(patch, pl.col("prediction") - own(pl.col("prediction").mean() - pl.col("forward_return").mean()))


# --- Prices of labels -------------------------------------------------------------------------------------------------


@leak(
    "labels from the close of their own session", "execution", "labels", kind="labels of prices up to their own session"
)
def _(patch: pytest.MonkeyPatch) -> None:
    def at_once(real: Any, prices: pl.DataFrame, delistings: pl.DataFrame, universe: Any, settings: Any, *rest: Any):  # type: ignore[no-untyped-def]
        return real(prices, delistings, universe, settings.model_copy(update={"entry_lag": 0}), *rest)

    spoil(patch, signal_wiring, "compute_labels", at_once)


@leak("labels less the return before them", "execution", "labels", kind="labels of prices up to their own session")
def _(patch: pytest.MonkeyPatch) -> None:
    def less(real: Any, prices: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        before = prices.sort("ticker", "date").select(
            "ticker", "date", before=own(pl.col("close") / pl.col("close").shift(1) - 1.0)
        )
        rows = real(prices, *rest).join(before, on=["ticker", "date"], how="left", maintain_order="left")
        return rows.with_columns(pl.col("forward_return") - 0.1 * pl.col("before").fill_null(0.0)).drop("before")

    spoil(patch, signal_wiring, "compute_labels", less)


@leak(
    "labels that a limit of their own close decides",
    "execution",
    "labels",
    kind="labels of prices up to their own session",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def limited(real: Any, prices: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        closes = prices.select("ticker", "date", own_close="close")
        entry = prices.select("ticker", entry_date="date", entry_close="close")
        rows = real(prices, *rest).join(closes, on=["ticker", "date"], how="left", maintain_order="left")
        rows = rows.join(entry, on=["ticker", "entry_date"], how="left", maintain_order="left")
        filled = pl.col("entry_close") <= pl.col("own_close")
        return rows.with_columns(forward_return=pl.when(filled).then("forward_return").otherwise(0.0)).drop(
            "own_close", "entry_close"
        )

    spoil(patch, signal_wiring, "compute_labels", limited)


# --- Prices of execution ----------------------------------------------------------------------------------------------


def _with_early(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[pytest.MonkeyPatch], None]:
    """Results changed by what the decision would have earned at once, `early`, and whether it is `entered` then."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def spoiled(real: Any, *args: Any, **kwargs: Any) -> pl.DataFrame:
            rows = real(*args, **kwargs)
            early = real(*args, **kwargs | {"entry_lag": 0}).select("date", early="gross_return")
            return change(
                rows.join(early, on="date").sort("date").with_columns(entered=pl.col("turnover") > 0.0)
            ).select(rows.columns)

        spoil_simulation(patch, spoiled)

    return plant


leak("the return of the entry session is earned", "execution", "backtest", kind="a return earned before the entry")(
    _with_early(lambda rows: rows.with_columns(gross_return=pl.when("entered").then("early").otherwise("gross_return")))
)

leak("bought at the price that decided", "execution", "portfolio_backtest", kind="execution at the close that decided")(
    _with_early(
        lambda rows: rows.with_columns(
            gross_return=pl.when(pl.col("entered").shift(1, fill_value=False))
            .then((1.0 + pl.col("early").shift(1)) * (1.0 + pl.col("gross_return")) - 1.0)
            .otherwise("gross_return")
        )
    )
)


# --- Scores that know the next session --------------------------------------------------------------------------------


@leak(
    "forecasts that know the next session",
    "execution",
    "predictions",
    kind="scores that order the session lost by the entry",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def knowing(real: Any, features: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        ahead = features.sort("ticker", "date").select("ticker", "date", ahead=own(pl.col("return_1").shift(-1)))
        found = real(features, *rest).join(ahead, on=["ticker", "date"], how="left", maintain_order="left")
        return found.with_columns(pl.col("prediction") + 0.5 * pl.col("ahead").fill_null(0.0)).drop("ahead")

    spoil(patch, learning_wiring, "forecast", knowing)


@leak(
    "candidates whose trend knows the next session",
    "execution",
    "candidates",
    kind="scores that order the session lost by the entry",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def knowing(real: Any, prices: pl.DataFrame, *rest: Any) -> Any:
        ahead = prices.sort("ticker", "date").select(
            "ticker", "date", ahead=own(pl.col("close").shift(-1) / pl.col("close") - 1.0)
        )
        made = real(prices, *rest)
        rows = made.rows.join(ahead, on=["ticker", "date"], how="left", maintain_order="left")
        known = pl.col("ahead").fill_null(0.0)
        return made._replace(rows=rows.with_columns(pl.col("momentum", "ma_slope") + 400.0 * known).drop("ahead"))

    spoil(patch, signal_wiring, "compute_indicators", knowing)
