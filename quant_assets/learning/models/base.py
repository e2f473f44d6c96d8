"""What every kind of model is: how it is fitted, asked, saved and loaded. Nothing of any one kind.

A kind is one file beside this one, with its class under the name `LEARNER`. All rows pass through `Learner.fit` and
`FittedModel.predict`, where the audit looks on.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar, final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from quant_assets.errors import DatasetError, SettingsError
from quant_assets.learning.splits import BoolArray
from quant_assets.market.panel import FloatArray
from quant_assets.settings.group import SettingsGroup

#: What a kind does with a missing value (NaN): `learned`, the model takes it as a value of its own; `filled`, it is
#: replaced by `FittedModel.fill`, which follows from the training rows alone and is saved with the model.
Missing = Literal["learned", "filled"]


@dataclass(frozen=True)
class Rows:
    """Rows as a model gets them.

    Attributes:
        features: names of the columns of `matrix`, in order.
        tickers: of each row, shape (n_rows,).
        dates: session of each row, datetime64[D] of shape (n_rows,).
        matrix: float64 of shape (n_rows, n_features), C-contiguous, NaN where a feature is missing.
        horizons: sessions ahead that the columns of `targets` are, in order; none where rows are only asked about.
        targets: what is fitted, float64 of shape (n_rows, n_horizons), every one of them known: forward returns, or
            what `training.target` makes of them.
        outcomes: the forward returns of that shape where the targets are not them, else None; no kind reads them.

    """

    features: tuple[str, ...]
    tickers: NDArray[np.object_]
    dates: NDArray[np.datetime64]
    matrix: FloatArray
    horizons: tuple[int, ...]
    targets: FloatArray
    outcomes: FloatArray | None = None

    @classmethod
    def of(
        cls,
        frame: pl.DataFrame,
        features: Sequence[str],
        horizons: Sequence[int] = (),
        targets: Sequence[str] = (),
        outcomes: Sequence[str] = (),
    ) -> Self:
        """Rows of a frame with `ticker`, `date`, the features, and a column of `targets` for each of `horizons`.

        If the `outcomes` are others, with a column of these for each of them, too.
        """
        return cls(
            tuple(features),
            frame["ticker"].to_numpy().astype(object),
            frame["date"].to_numpy(),
            feature_matrix(frame, features),
            tuple(horizons),
            np.ascontiguousarray(frame.select(targets).to_numpy()) if targets else np.empty((len(frame), 0)),
            np.ascontiguousarray(frame.select(outcomes).to_numpy()) if outcomes else None,
        )

    def __len__(self) -> int:
        return len(self.matrix)

    def where(self, mask: BoolArray) -> Self:
        """The rows at which a mask of shape (n_rows,) is True, in order."""
        return replace(
            self,
            tickers=self.tickers[mask],
            dates=self.dates[mask],
            matrix=self.matrix[mask],
            targets=self.targets[mask],
            outcomes=None if self.outcomes is None else self.outcomes[mask],
        )


def feature_matrix(frame: pl.DataFrame, features: Sequence[str]) -> FloatArray:
    """Model input of shape (n_rows, n_features), C-contiguous, NaN where a feature is null."""
    return np.ascontiguousarray(frame.select(pl.col(list(features)).cast(pl.Float64)).to_numpy())


@dataclass(frozen=True)
class Distribution:
    """Forecasts of forward returns.

    Attributes:
        mean: float64 of shape (n_rows, n_horizons).
        std: standard deviation of the same shape, positive; None where a kind states none: it then follows from the
            residuals of the test folds (`ResidualBuckets`).

    """

    mean: FloatArray
    std: FloatArray | None = None

    @classmethod
    def from_quantiles(cls, levels: Sequence[float], values: FloatArray) -> Self:
        """Mean and standard deviation of a distribution that is told by its quantiles.

        The quantile function is linear between the levels and constant beyond the outermost, so both moments are exact
        integrals of it.

        Args:
            levels: ascending, between 0 and 1, of shape (n_levels,).
            values: quantiles of shape (n_levels, n_rows, n_horizons); those that cross are put in order.

        """
        ordered = np.sort(values, axis=0)
        widths = np.diff(np.concatenate([[0.0], np.asarray(levels), [1.0]]))[:, None, None]
        low, high = np.concatenate([ordered[:1], ordered]), np.concatenate([ordered, ordered[-1:]])
        mean = (widths * (low + high) / 2.0).sum(axis=0)
        low, high = low - mean, high - mean
        return cls(mean, np.sqrt((widths * (low * low + low * high + high * high) / 3.0).sum(axis=0)))


class FittedModel(ABC):
    """A model that has been fitted or loaded.

    Attributes:
        features: names of its inputs, in order.
        horizons: sessions ahead that it forecasts, in the order of the columns of its forecasts.
        fill: value in the place of a missing one, shape (n_features,); None where its kind takes missing values.
        origin: its model and kind in words, from the learner that fitted it or whose files were loaded; for errors.

    """

    features: tuple[str, ...]
    horizons: tuple[int, ...]
    fill: FloatArray | None = None
    origin: str = ""

    @final
    def predict(self, rows: Rows) -> Distribution:
        """Forecasts of rows that have this model's features in its order.

        Raises:
            DatasetError: the rows have other features, a forecast is not finite, or a standard deviation not positive.

        """
        if rows.features != self.features:
            raise DatasetError(f"rows of {len(rows.features)} features for a model of {len(self.features)} others")
        shape, said = (len(rows), len(self.horizons)), self.origin or type(self).__name__
        found = self._predict(rows) if len(rows) else Distribution(np.empty(shape))
        for values in (found.mean, found.std):
            if values is not None and (values.shape != shape or not np.isfinite(values).all()):
                raise DatasetError(
                    f"{said}: forecasts of shape {values.shape}, or not finite; {shape} finite ones are due: "
                    "a missing or extreme feature is not dealt with, or the fit did not converge"
                )
        if found.std is not None and (tied := int((found.std <= 0).any(axis=1).sum())):
            raise DatasetError(
                f"{said}: the standard deviation of {tied} of {len(rows)} rows is not "
                "positive, such as that of quantiles that are all the same: train it on more rows or with less "
                "regularisation, or let the kind state none, so that it follows from the residuals"
            )
        for observer in _OBSERVERS:
            observer.predicted(self, rows, found)
        return found

    @abstractmethod
    def _predict(self, rows: Rows) -> Distribution:
        """Forecasts of at least one row; a row's bytes do not depend on the other rows."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model into an empty folder: one file `model.<suffix>`, or several of any names."""

    def description(self) -> dict[str, Any]:
        """Plain values for the manifest that say how the fit went, such as the number of trees."""
        return {}

    def importances(self) -> dict[str, list[float]]:
        """Importance of each feature in order, by the name of the measure; none where a kind has none."""
        return {}


P = TypeVar("P", bound=SettingsGroup)


class Learner(ABC, Generic[P]):
    """A kind of model with its parameters, under the name that the settings give it.

    A kind sets the class attributes.

    Attributes:
        kind: its name, that of its file.
        file_format: what its files are, for the manifest.
        missing: its rule for missing values.
        exact: whether the same rows, seed and parameters give the same bytes in every run.
        all_horizons: whether one fit serves all horizons; else there is a fit for each.
        distributed: whether its fit runs in several processes at once, each of which is given all rows and ends with
            the same model; else `launch.processes` must be 1.
        libraries: distributions whose versions decide what it computes.
        without_effect: parameters that do not change what is fitted, such as a number of threads.
        parameters_type: model of its parameters, with their defaults.
        name: of the model, in `models` of the settings and in column `model`.
        parameters: checked.

    """

    kind: ClassVar[str]
    file_format: ClassVar[str]
    missing: ClassVar[Missing]
    exact: ClassVar[bool]
    all_horizons: ClassVar[bool] = False
    distributed: ClassVar[bool] = False
    libraries: ClassVar[tuple[str, ...]] = ()
    without_effect: ClassVar[frozenset[str]] = frozenset()
    parameters_type: type[P]

    @final
    def __init__(self, name: str, parameters: Mapping[str, Any] | None = None) -> None:
        self.name = name
        try:
            self.parameters: P = self.parameters_type(**(parameters or {}))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            known = ", ".join(self.parameters_type.model_fields)
            raise SettingsError(
                f"setting models.{name}.parameters.{where} is not valid: {first['msg']}; parameters of kind "
                f"{self.kind} are {known or '(none)'}"
            ) from None

    @final
    def fit(self, rows: Rows, validation: Rows, seed: int) -> FittedModel:
        """Fit on rows, with later ones to stop by; nothing else decides the result.

        Args:
            rows: to fit on.
            validation: of the same features and horizons, later than `rows`; for early stopping or tuning.
            seed: of every random draw.

        """
        model = self._fit(rows, validation, seed)
        if (model.features, model.horizons) != (rows.features, rows.horizons):
            raise DatasetError(f"kind {self.kind}: the fitted model has other features or horizons than its rows")
        model.origin = self.said
        for observer in _OBSERVERS:
            observer.fitted(self.name, rows, validation, model)
        return model

    @abstractmethod
    def _fit(self, rows: Rows, validation: Rows, seed: int) -> FittedModel:
        """What `fit` says, for one horizon, or for several where `all_horizons`."""

    @abstractmethod
    def load(self, folder: Path, horizons: tuple[int, ...]) -> FittedModel:
        """The model that `save` wrote into a folder, whatever this learner's parameters are now.

        That the files are those that were written has been verified. They may be gone afterwards.

        Args:
            folder: of its files.
            horizons: that it was fitted for.

        """

    @property
    def said(self) -> str:
        """The model and its kind in words, for errors."""
        return f"model {self.name} of kind {self.kind}"

    @final
    def deciding(self) -> dict[str, Any]:
        """Parameters that decide what is fitted, as plain values."""
        return self.parameters.model_dump(mode="json", exclude=set(self.without_effect))


class Observer(Protocol):
    """Is told of every fit and forecast of this process."""

    def fitted(self, name: str, rows: Rows, validation: Rows, model: FittedModel) -> None:
        """Model `name` has been fitted."""

    def predicted(self, model: FittedModel, rows: Rows, found: Distribution) -> None:
        """Forecasts have been made."""


_OBSERVERS: list[Observer] = []


@contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Tell an observer of every fit and forecast until the end of the block."""
    _OBSERVERS.append(observer)
    try:
        yield
    finally:
        _OBSERVERS.remove(observer)


def is_observed() -> bool:
    """Whether somebody looks at the fits of this process, so that they must not happen in another."""
    return bool(_OBSERVERS)
