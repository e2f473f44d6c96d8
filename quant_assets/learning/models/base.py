"""The interface of all kinds of model: fit, predict, save and load. Nothing specific to one kind.

A kind is one file in this folder, with its class as `LEARNER`. All rows pass through `Learner.fit` and
`FittedModel.predict`, where the audit observes them.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, final

import numpy as np
import polars as pl
from pydantic import ValidationError

from quant_assets.errors import DatasetError, SettingsError
from quant_assets.learning.bars import Bars
from quant_assets.learning.observing import OBSERVERS
from quant_assets.learning.rows import Distribution, Rows, feature_matrix
from quant_assets.learning.splits import BoolArray
from quant_assets.market.panel import FloatArray
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.group import SettingsGroup

#: Handling of missing values (NaN): `learned`, the model treats them as a value of their own; `filled`, they are
#: replaced by `FittedModel.fill`, which is computed from the training rows alone and saved with the model.
Missing = Literal["learned", "filled"]

#: What is fitted: the return itself, or whether it is positive.
Task = Literal["regression", "classification"]

#: File of `FittedModel.directions`, saved with the model.
_DIRECTIONS = "directions.json"


class FittedModel(ABC):
    """A model that has been fitted or loaded.

    Attributes:
        features: names of its inputs, in order.
        horizons: sessions ahead that it forecasts, in the order of the columns of its forecasts.
        fill: replacement of missing values, shape (n_features,); None if the kind accepts missing values.
        origin: name and kind of the model, set by the learner that fitted or loaded it; for errors.
        directions: mean returns of the training rows that fell and that rose, shape (2, n_horizons), for a model of
            directions; None for a model of returns.
        bar_sessions: length of a row's window of bars in sessions, its own included; 0 if it reads no bars.

    """

    features: tuple[str, ...]
    horizons: tuple[int, ...]
    fill: FloatArray | None = None
    origin: str = ""
    directions: FloatArray | None = None
    bar_sessions: int = 0

    def usable(self, rows: Rows) -> BoolArray:
        """Which rows can be forecast, shape (n_rows,); `predict` must not get the others."""
        return np.ones(len(rows), dtype=bool)

    @final
    def predict(self, rows: Rows) -> Distribution:
        """Forecasts of rows with this model's features in its order.

        A model of directions forecasts a return: the mean of the rising and the falling training rows, weighted by its
        probability.

        Raises:
            DatasetError: the rows have other features, a forecast is not finite, or a standard deviation not positive.

        """
        shape, said = (len(rows), len(self.horizons)), self.origin or type(self).__name__
        if rows.features != self.features:
            raise DatasetError(f"{said}: {_other_columns(rows.features, self.features)}")
        forecasts = self._predict(rows) if len(rows) else Distribution(np.empty(shape))
        if self.directions is not None:
            fell, rose = self.directions
            if not ((forecasts.mean >= 0) & (forecasts.mean <= 1)).all():
                raise DatasetError(f"{said}: a model of directions returned values that are not between 0 and 1")
            forecasts = Distribution(fell + forecasts.mean * (rose - fell), prob_up=forecasts.mean)
        for values in (forecasts.mean, forecasts.std):
            if values is not None and (values.shape != shape or not np.isfinite(values).all()):
                raise DatasetError(
                    f"{said}: forecasts of shape {values.shape}, or not finite; expected {shape}, all finite: "
                    "a missing or extreme feature is not handled, or the fit did not converge"
                )
        if forecasts.std is not None and (zeros := int((forecasts.std <= 0).any(axis=1).sum())):
            raise DatasetError(
                f"{said}: the standard deviation of {zeros} of {len(rows)} rows is not "
                "positive, for example because all quantiles are equal: train it on more rows or with less "
                "regularisation, or let the kind return no std, so that the residuals are used"
            )
        for observer in OBSERVERS:
            observer.predicted(self, rows, forecasts)
        return forecasts

    @final
    def predict_proba(self, rows: Rows) -> FloatArray:
        """Probabilities of a fall and of a rise, shape (n_rows, n_horizons, 2), which sum to 1.

        For a model of returns with a standard deviation they are those of the normal distribution. They are not
        calibrated, unlike those in dataset `predictions`.

        Raises:
            DatasetError: as `predict`; or the model has neither a probability nor a standard deviation.

        """
        forecasts = self.predict(rows)
        up = forecasts.prob_up
        if up is None:
            if forecasts.std is None:
                raise DatasetError(
                    f"{self.origin or type(self).__name__} has no probabilities: it forecasts returns without a "
                    "standard deviation; set its task_type to classification, or take prob_up of dataset predictions"
                )
            from scipy.special import ndtr  # scipy takes a third of a second to import

            up = np.asarray(ndtr(forecasts.mean / forecasts.std), dtype=np.float64)
        return np.stack([1.0 - up, up], axis=-1)

    @final
    def get_feature_importance(self) -> dict[str, float]:
        """Each feature and its importance by the kind's first measure, descending; empty where the kind has none."""
        if not (measures := self.importances()):
            return {}
        values = zip(self.features, next(iter(measures.values())), strict=True)
        return dict(sorted(values, key=lambda item: (-item[1], item[0])))

    @final
    def get_model_info(self) -> dict[str, Any]:
        """Description of the model as plain values: origin, task, features, horizons, details of the fit."""
        return {
            "model": self.origin or type(self).__name__,
            "task_type": "regression" if self.directions is None else "classification",
            "features": list(self.features),
            "horizons": list(self.horizons),
            "missing": "learned" if self.fill is None else "filled",
        } | self.description()

    @abstractmethod
    def _predict(self, rows: Rows) -> Distribution:
        """Forecasts of at least one row; a row's bytes must not depend on the other rows.

        For a model of directions the mean is the probability of a rise.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model into an empty folder: one file `model.<suffix>`, or several of any names."""

    @final
    def write(self, folder: Path) -> None:
        """`save`, and the file of `directions` if there are any; `Learner.read` reads both."""
        self.save(folder)
        if self.directions is not None:
            text = json.dumps(dict(zip(("fell", "rose"), self.directions.tolist(), strict=True)))
            (folder / _DIRECTIONS).write_text(text + "\n", encoding="utf-8")

    def description(self) -> dict[str, Any]:
        """Details of the fit as plain values for the manifest, such as the number of trees."""
        return {}

    def importances(self) -> dict[str, list[float]]:
        """Importances of the features in order, by name of the measure; empty if the kind has none."""
        return {}

    def contributions(self, rows: Rows) -> FloatArray | None:
        """SHAP values of rows: the contributions of the features to a forecast, and last the base value.

        Shape (n_horizons, n_rows, n_features + 1). The sum over the last axis is the raw forecast of `Rows.targets`,
        for a model of directions in log odds. None if the kind has none.
        """
        return None


def _other_columns(columns: tuple[str, ...], features: tuple[str, ...]) -> str:
    """A message on how the columns of rows differ from a model's features."""
    parts = [
        f"{what} {', '.join(names)}"
        for what, names in (
            ("lack", [name for name in features if name not in set(columns)]),
            ("have in addition", [name for name in columns if name not in set(features)]),
        )
        if names
    ]
    difference = " and ".join(parts) or "have the same features in another order"
    return f"the columns of the rows differ from its {len(features)} features: they {difference}"


P = TypeVar("P", bound=SettingsGroup)


class Learner(ABC, Generic[P]):
    """A kind of model with its parameters and the name of the model in the settings.

    Subclasses set the class attributes.

    Attributes:
        kind: name of the kind and of its file.
        file_format: format of its files, for the manifest.
        missing: handling of missing values.
        exact: whether the same rows, seed and parameters give the same bytes in every run.
        all_horizons: whether one fit serves all horizons; else there is one fit per horizon.
        distributed: whether it is fitted in several processes at once, which all get all rows and end with the same
            model; else `launch.processes` must be 1.
        on_device: whether it is fitted on a device (GPU) if available, one for each process; else it sees none.
        libraries: distributions whose versions affect its results.
        without_effect: parameters that do not affect the fit, such as a number of threads.
        checkpoints: dataset of its checkpoints.
        tasks: tasks that it can fit.
        updated: tasks whose models can be updated with rows that became known later (`update`).
        learns: whether the rows decide the fit; else it was trained elsewhere, and the audit does not refit it.
        parameters_type: settings class of its parameters, with their defaults.
        name: name of the model, in `models` of the settings and in column `model`.
        parameters: the validated parameters.
        task: the task to fit, one of `tasks`.
        updates: whether its models are updated between trainings, and so store what an update needs.

    """

    kind: ClassVar[str]
    file_format: ClassVar[str]
    missing: ClassVar[Missing]
    exact: ClassVar[bool]
    all_horizons: ClassVar[bool] = False
    distributed: ClassVar[bool] = False
    on_device: ClassVar[bool] = False
    libraries: ClassVar[tuple[str, ...]] = ()
    without_effect: ClassVar[frozenset[str]] = frozenset()
    checkpoints: ClassVar[str] = CHECKPOINTS.name
    tasks: ClassVar[tuple[Task, ...]] = ("regression",)
    updated: ClassVar[tuple[Task, ...]] = ()
    learns: ClassVar[bool] = True
    parameters_type: type[P]

    @final
    def __init__(
        self,
        name: str,
        parameters: Mapping[str, Any] | None = None,
        task: Task = "regression",
        updates: bool = False,
    ) -> None:
        self.name, self.task, self.updates = name, task, updates
        if task not in self.tasks:
            raise SettingsError(
                f"setting models.{name}.task_type is {task}; kind {self.kind} supports {' and '.join(self.tasks)}"
            )
        if updates and task not in self.updated:
            raise SettingsError(
                f"setting models.{name}.update is true; kind {self.kind} has no updates for {task}: leave it out"
            )
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
        """Fit on rows, with later ones for early stopping; the result depends on nothing else.

        Args:
            rows: training rows.
            validation: later rows with the same features and horizons, for early stopping or tuning.
            seed: seed of every random draw.

        """
        model = self._fit(rows, validation, seed)
        if (model.features, model.horizons) != (rows.features, rows.horizons):
            raise DatasetError(f"kind {self.kind}: the fitted model has other features or horizons than its rows")
        model.origin = self.said
        if self.task == "classification":
            model.directions = _directions(rows, self.said)
        for observer in OBSERVERS:
            observer.fitted(self.name, rows, validation, model)
        return model

    @abstractmethod
    def _fit(self, rows: Rows, validation: Rows, seed: int) -> FittedModel:
        """Implementation of `fit`, for one horizon, or for several with `all_horizons`."""

    @final
    def update(self, model: FittedModel, rows: Rows, fitted_rows: int) -> FittedModel:
        """A copy of the model, updated with rows that it was not fitted on.

        `FittedModel.directions` stays that of the training.

        Args:
            model: model fitted or updated by a learner with these parameters and `updates`.
            rows: at least one row, with its features and horizons.
            fitted_rows: number of rows that the model was fitted on so far.

        Raises:
            DatasetError: the model lacks data for an update, or the rows have other features or horizons.

        """
        if (model.features, model.horizons) != (rows.features, rows.horizons):
            raise DatasetError(f"{self.said}: rows of other features or horizons cannot update it")
        updated = self._update(model, rows, fitted_rows)
        updated.origin, updated.directions = self.said, model.directions
        for observer in OBSERVERS:
            observer.fitted(self.name, rows, rows.where(np.zeros(len(rows), dtype=bool)), updated)
        return updated

    def _update(self, model: FittedModel, rows: Rows, fitted_rows: int) -> FittedModel:
        """Implementation of `update`, for kinds that support it (`updated`)."""
        raise NotImplementedError(f"kind {self.kind} has no updates")

    @abstractmethod
    def load(self, folder: Path, horizons: tuple[int, ...]) -> FittedModel:
        """Load the model that `save` wrote, independent of this learner's current parameters.

        The files have been verified. They may be deleted afterwards.

        Args:
            folder: folder of the files.
            horizons: horizons of the model.

        """

    @final
    def read(self, folder: Path, horizons: tuple[int, ...]) -> FittedModel:
        """Load the model that `FittedModel.write` wrote; arguments as in `load`."""
        model = self.load(folder, horizons)
        if (path := folder / _DIRECTIONS).exists():
            means = json.loads(path.read_text(encoding="utf-8"))
            model.directions = np.array([means["fell"], means["rose"]])
        model.origin = self.said
        return model

    @property
    def knows_until(self) -> date | None:
        """Last session that the model may know from outside the rows; its tests are later. None: no such session."""
        return None

    @property
    def bar_sessions(self) -> int:
        """Length of a row's window of bars in sessions, its own included; 0: it reads features, not bars."""
        return 0

    @property
    def pretraining_cadence(self) -> int:
        """Months between the pre-trainings on the whole market that it starts from; 0: none."""
        return 0

    def inputs(self, features: Sequence[str]) -> tuple[str, ...]:
        """The profile's features that it reads, in order; all of them by default."""
        return tuple(features)

    def usable(self, rows: Rows) -> BoolArray:
        """Which rows can be used in training, shape (n_rows,)."""
        return np.ones(len(rows), dtype=bool)

    def compared_names(self, features: Sequence[str]) -> tuple[str, ...]:
        """Columns in which later rows are compared with training rows (`learning.reference`); by default its inputs."""
        return self.inputs(features)

    def compared(self, frame: pl.DataFrame, names: Sequence[str], bars: Bars | None) -> FloatArray:
        """Values of these columns, shape (n_rows, n_names), NaN where missing; `bars` are those of the rows."""
        return feature_matrix(frame, names)

    def unknowing(self, since: date) -> Self:
        """The learner for tests from a session on: itself, or without parts that know later sessions."""
        return self

    def recorded(self) -> dict[str, Any]:
        """Its parameters for the manifest: plain values that are valid on any machine."""
        return dict(self.parameters.model_dump(mode="json"))

    @property
    def said(self) -> str:
        """Name and kind of the model, for errors."""
        return f"model {self.name} of kind {self.kind}"

    @final
    def deciding(self) -> dict[str, Any]:
        """Parameters that affect the fit, as plain values."""
        parameters: dict[str, Any] = self.parameters.model_dump(mode="json", exclude=set(self.without_effect))
        parameters |= {} if self.task == "regression" else {"task_type": self.task}
        return parameters | ({"update": True} if self.updates else {})


def _directions(rows: Rows, said: str) -> FloatArray:
    """Mean return of the rows whose target is 0 and of those whose target is 1, shape (2, n_horizons)."""
    if rows.outcomes is None or not np.isin(rows.targets, (0.0, 1.0)).all():
        raise DatasetError(f"{said}: a model of directions needs targets of 0 and 1, and the returns as outcomes")
    up = rows.targets == 1
    if up.all(axis=0).any() or not up.any(axis=0).all():
        raise DatasetError(f"{said}: all {len(rows)} rows have the same direction; train it on more sessions")
    return np.stack([(rows.outcomes * one).sum(axis=0) / one.sum(axis=0) for one in (~up, up)])
