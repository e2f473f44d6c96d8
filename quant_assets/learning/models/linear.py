"""Ridge regression, and logistic regression for directions: the baseline for all other kinds.

Missing values are filled with the median of the training rows; features are standardised by those rows and clipped to
`limit` deviations, so that extreme values have a limited effect on fits and forecasts.

An update is recursive least squares in its information form: the means and products of all rows so far are stored, and
those of the new rows added, which gives the ridge regression on all rows together. Medians, centres, scales, the limit
and the penalty stay those of the training. All rows have the same weight, whatever their age.

References:
    Chan, Golub and LeVeque (1983), Algorithms for computing the sample variance, The American Statistician 37(3),
    equation 1.5: products of two combined samples.
    Hoerl and Kennard (1970), Ridge regression, Technometrics 12(1).
    Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, sections 3.4.1 and 4.4.1.

"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field

from quant_assets.errors import DatasetError
from quant_assets.learning.calibration import logistic
from quant_assets.learning.models.base import FittedModel, Learner, Task
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.market.panel import FloatArray
from quant_assets.settings.group import SettingsGroup

_FILE = "model.json"

#: `Moments` for updates; saved only with `update: true`.
_MOMENTS = "moments.npz"

#: Greatest number of Newton steps of the logistic fit, and the step size at which they end.
_STEPS, _TOLERANCE = 50, 1e-10


class Parameters(SettingsGroup):
    """Regularisation.

    Attributes:
        penalties: on the squared coefficients of the standardised features, times the number of rows; the best one on
            the validation rows is used.
        limit: standard deviations from a feature's mean to which its values are clipped.

    """

    penalties: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.01, 0.1, 1.0, 10.0), min_length=1)
    limit: float = Field(default=5.0, gt=0)


@dataclass(frozen=True)
class Coefficients:
    """A fit in the form in which it is saved.

    Attributes:
        task: the fitted task.
        features: names of the features, in order.
        fill: replacement of missing values, shape (n_features,).
        centre: mean of each feature, shape (n_features,).
        scale: standard deviation of each feature, shape (n_features,); 1 for a constant one.
        limit: standard deviations to which values are clipped.
        slopes: coefficients of the standardised features, shape (n_features, n_horizons).
        intercepts: shape (n_horizons,).
        penalty: the best penalty on the validation rows.

    """

    task: Task
    features: tuple[str, ...]
    fill: FloatArray
    centre: FloatArray
    scale: FloatArray
    limit: float
    slopes: FloatArray
    intercepts: FloatArray
    penalty: float

    def standardised(self, matrix: FloatArray) -> FloatArray:
        """A matrix of features, filled, standardised and clipped element by element."""
        filled = np.where(np.isnan(matrix), self.fill, matrix)
        clipped: FloatArray = np.clip((filled - self.centre) / self.scale, -self.limit, self.limit)
        return clipped


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of rows for least squares.

    Attributes:
        rows: number of rows.
        inputs: mean of each standardised feature, shape (n_features,).
        targets: mean of each target, shape (n_horizons,).
        squares: sums of products of the features about their means, shape (n_features, n_features).
        products: sums of products of features and targets about their means, shape (n_features, n_horizons).

    """

    rows: int
    inputs: FloatArray
    targets: FloatArray
    squares: FloatArray
    products: FloatArray

    @classmethod
    def of(cls, inputs: FloatArray, targets: FloatArray) -> Self:
        """Moments of standardised features and their targets."""
        centre, mean = inputs.mean(axis=0), targets.mean(axis=0)
        centred = inputs - centre
        return cls(len(inputs), centre, mean, centred.T @ centred, centred.T @ (targets - mean))

    def with_more(self, other: "Moments") -> "Moments":
        """Moments of both samples together."""
        rows, input_shift = self.rows + other.rows, other.inputs - self.inputs
        target_shift, share = other.targets - self.targets, other.rows / rows
        weight = self.rows * share
        return Moments(
            rows,
            self.inputs + input_shift * share,
            self.targets + target_shift * share,
            self.squares + other.squares + np.outer(input_shift, input_shift) * weight,
            self.products + other.products + np.outer(input_shift, target_shift) * weight,
        )


class Linear(FittedModel):
    """Coefficients, their horizons, and the moments of the rows if the model is updated."""

    def __init__(self, coefficients: Coefficients, horizons: tuple[int, ...], moments: Moments | None = None) -> None:
        self.coefficients, self.horizons, self.moments = coefficients, horizons, moments
        self.features, self.fill = coefficients.features, coefficients.fill

    def _predict(self, rows: Rows) -> Distribution:
        return Distribution(self.of_standardised(self.coefficients.standardised(rows.matrix)))

    def of_standardised(self, inputs: FloatArray) -> FloatArray:
        """Forecasts from `Coefficients.standardised` inputs, shape (n_rows, n_horizons)."""
        mean = np.tile(self.coefficients.intercepts, (len(inputs), 1))
        # Not a matrix product: its rounding depends on the number of rows.
        for column, slopes in zip(np.ascontiguousarray(inputs.T), self.coefficients.slopes, strict=True):
            mean += column[:, None] * slopes
        return mean if self.coefficients.task == "regression" else logistic(mean)

    def save(self, folder: Path) -> None:
        """JSON; its numbers keep every bit."""
        plain = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in asdict(self.coefficients).items()
        }
        text = json.dumps(plain, sort_keys=True, indent=1, allow_nan=False) + "\n"
        (folder / _FILE).write_text(text, encoding="utf-8")
        if self.moments is not None:
            np.savez(folder / _MOMENTS, **{field.name: getattr(self.moments, field.name) for field in fields(Moments)})

    def description(self) -> dict[str, Any]:
        """The chosen penalty."""
        return {"penalty": self.coefficients.penalty}

    def importances(self) -> dict[str, list[float]]:
        """Absolute coefficient of the standardised feature, mean over the horizons."""
        return {"coefficient": np.abs(self.coefficients.slopes).mean(axis=1).tolist()}


class LinearLearner(Learner[Parameters]):
    """Least squares (for directions log-likelihood) with a penalty on the squared coefficients."""

    kind = "linear"
    file_format = "JSON of coefficients"
    missing = "filled"
    exact = True
    tasks = ("regression", "classification")
    updated = ("regression",)
    libraries = ("threadpoolctl",)
    parameters_type = Parameters

    def _fit(self, rows: Rows, validation: Rows, seed: int) -> Linear:
        """Exact: the seed is not used."""
        from threadpoolctl import threadpool_limits

        self._refuse_infinite(rows)
        # One thread: the rounding of a product depends on their number.
        with threadpool_limits(limits=1, user_api="blas"):
            tried = [Linear(coefficients, rows.horizons) for coefficients in self._tried(rows)]
        later = tried[0].coefficients.standardised(validation.matrix)  # the same for all of them
        best = min(tried, key=lambda model: _loss(self.task, model.of_standardised(later), validation.targets))
        if self.updates:
            with threadpool_limits(limits=1, user_api="blas"):
                best.moments = Moments.of(best.coefficients.standardised(rows.matrix), rows.targets)
        return best

    def _update(self, model: FittedModel, rows: Rows, fitted_rows: int) -> Linear:
        """The coefficients of all rows so far; `fitted_rows` is not used, the moments count them."""
        from threadpoolctl import threadpool_limits

        if not isinstance(model, Linear) or model.moments is None:
            raise DatasetError(
                f"{self.said}: the trained model has no moments to update; train it again with update: true"
            )
        self._refuse_infinite(rows)
        old = model.coefficients
        with threadpool_limits(limits=1, user_api="blas"):
            moments = model.moments.with_more(Moments.of(old.standardised(rows.matrix), rows.targets))
            ((_, slopes, intercepts),) = _solved(moments, (old.penalty,))
        return Linear(replace(old, slopes=slopes, intercepts=intercepts), rows.horizons, moments)

    def _refuse_infinite(self, rows: Rows) -> None:
        if not np.isfinite(rows.matrix[~np.isnan(rows.matrix)]).all():
            raise DatasetError(f"{self.said}: a feature is infinite; fix it, or set it to missing")

    def _tried(self, rows: Rows) -> Iterator[Coefficients]:
        """The fits with all penalties."""
        fill = _medians(rows.matrix)
        filled = np.where(np.isnan(rows.matrix), fill, rows.matrix)
        centre, scale = filled.mean(axis=0), filled.std(axis=0)
        # A feature that varies by rounding error only counts as constant.
        scale[scale <= 1e-12 * np.abs(centre)] = 1.0
        scale[scale == 0] = 1.0
        zeros = np.zeros((len(fill), len(rows.horizons)))
        common = (rows.features, fill, centre, scale, self.parameters.limit)
        inputs = Coefficients(self.task, *common, zeros, zeros[0], 0.0).standardised(rows.matrix)
        solved = _least_squares if self.task == "regression" else _most_likely
        for penalty, slopes, intercepts in solved(inputs, rows.targets, self.parameters.penalties):
            yield Coefficients(self.task, *common, slopes, intercepts, penalty)

    def load(self, folder: Path, horizons: tuple[int, ...]) -> Linear:
        """The coefficients of the JSON file."""
        plain = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        arrays = {name: np.array(plain[name]) for name in ("fill", "centre", "scale", "slopes", "intercepts")}
        moments = None
        if (path := folder / _MOMENTS).exists():
            with np.load(path, allow_pickle=False) as archive:
                moments = Moments(**({name: archive[name] for name in archive} | {"rows": int(archive["rows"])}))
        return Linear(Coefficients(**(plain | arrays | {"features": tuple(plain["features"])})), horizons, moments)


def _medians(matrix: FloatArray) -> FloatArray:
    """Median of the present values of each column; 0 for an empty column, where any constant will do."""
    ordered = np.sort(matrix.T, axis=1)  # NaN last; all columns at once take a third of the time of `nanmedian`
    count = (~np.isnan(ordered)).sum(axis=1)
    at = np.arange(len(ordered))
    low, high = ordered[at, np.maximum(count - 1, 0) // 2], ordered[at, np.minimum(count // 2, len(matrix) - 1)]
    return np.where(count > 0, (low + high) / 2, 0.0)


Solutions = Iterator[tuple[float, FloatArray, FloatArray]]


def _least_squares(inputs: FloatArray, targets: FloatArray, penalties: tuple[float, ...]) -> Solutions:
    """Slopes and intercepts for each penalty."""
    return _solved(Moments.of(inputs, targets), penalties)


def _solved(moments: Moments, penalties: tuple[float, ...]) -> Solutions:
    """Slopes and intercepts for each penalty, from one eigendecomposition of the features' products."""
    values, vectors = np.linalg.eigh(moments.squares / moments.rows)
    rotated = vectors.T @ (moments.products / moments.rows)
    for penalty in penalties:
        slopes = vectors @ (rotated / (np.maximum(values, 0.0) + penalty)[:, None])
        yield penalty, slopes, moments.targets - moments.inputs @ slopes


def _most_likely(inputs: FloatArray, targets: FloatArray, penalties: tuple[float, ...]) -> Solutions:
    """The same for targets of 0 and 1 by Newton's method; the strongest penalty first, as start of the next one."""
    count, features = inputs.shape
    with_one = np.hstack([inputs, np.ones((count, 1))])
    share = targets.mean(axis=0)
    solution = np.vstack([np.zeros((features, targets.shape[1])), np.log(share / (1 - share))])
    for penalty in sorted(penalties, reverse=True):
        ridge = penalty * np.append(np.ones(features), 0.0)
        for column, target in enumerate(targets.T):
            for _ in range(_STEPS):
                probability = logistic(with_one @ solution[:, column])
                gradient = with_one.T @ (target - probability) / count - ridge * solution[:, column]
                hessian = (with_one * (probability * (1 - probability))[:, None]).T @ with_one / count + np.diag(ridge)
                step = np.linalg.solve(hessian, gradient)
                solution[:, column] += step
                if np.abs(step).max() < _TOLERANCE:
                    break
        yield penalty, solution[:-1].copy(), solution[-1].copy()


def _loss(task: Task, forecast: FloatArray, targets: FloatArray) -> float:
    """Mean squared error, or mean negative log-likelihood, over rows and horizons."""
    if task == "regression":
        return float(((targets - forecast) ** 2).mean())
    clipped = np.clip(forecast, 1e-12, 1 - 1e-12)
    return float(-(targets * np.log(clipped) + (1 - targets) * np.log(1 - clipped)).mean())


LEARNER = LinearLearner
