"""What every kind of model is: how it is fitted, asked, saved and loaded. Nothing of any one kind.

A kind is one file beside this one, with its class under the name `LEARNER`. All rows pass through `Learner.fit` and
`FittedModel.predict`, where the audit looks on.
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

#: What a kind does with a missing value (NaN): `learned`, the model takes it as a value of its own; `filled`, it is
#: replaced by `FittedModel.fill`, which follows from the training rows alone and is saved with the model.
Missing = Literal["learned", "filled"]

#: What is fitted: the return itself, or whether it is positive.
Task = Literal["regression", "classification"]

#: Kept beside the files of a model that tells directions.
_DIRECTIONS = "directions.json"


class FittedModel(ABC):
    """A model that has been fitted or loaded.

    Attributes:
        features: names of its inputs, in order.
        horizons: sessions ahead that it forecasts, in the order of the columns of its forecasts.
        fill: value in the place of a missing one, shape (n_features,); None where its kind takes missing values.
        origin: its model and kind in words, from the learner that fitted it or whose files were loaded; for errors.
        directions: mean return of the training rows that fell and of those that rose, shape (2, n_horizons), of a model
            of directions; None of a model of returns.
        bar_sessions: sessions up to a row's own whose bars its forecast may follow from; 0 where it reads none.

    """

    features: tuple[str, ...]
    horizons: tuple[int, ...]
    fill: FloatArray | None = None
    origin: str = ""
    directions: FloatArray | None = None
    bar_sessions: int = 0

    def usable(self, rows: Rows) -> BoolArray:
        """Which rows have what a forecast needs, shape (n_rows,); the others must not be asked about."""
        return np.ones(len(rows), dtype=bool)

    @final
    def predict(self, rows: Rows) -> Distribution:
        """Forecasts of rows that have this model's features in its order.

        A model of directions forecasts the return that its probability means: that of the training rows which rose and
        that of those which fell, weighed with it.

        Raises:
            DatasetError: the rows have other features, a forecast is not finite, or a standard deviation not positive.

        """
        shape, said = (len(rows), len(self.horizons)), self.origin or type(self).__name__
        if rows.features != self.features:
            raise DatasetError(f"{said}: {_other_columns(rows.features, self.features)}")
        found = self._predict(rows) if len(rows) else Distribution(np.empty(shape))
        if self.directions is not None:
            fell, rose = self.directions
            if not ((found.mean >= 0) & (found.mean <= 1)).all():
                raise DatasetError(f"{said}: a model of directions gave what is no probability between 0 and 1")
            found = Distribution(fell + found.mean * (rose - fell), prob_up=found.mean)
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
        for observer in OBSERVERS:
            observer.predicted(self, rows, found)
        return found

    @final
    def predict_proba(self, rows: Rows) -> FloatArray:
        """Probabilities of a fall and of a rise, shape (n_rows, n_horizons, 2), which sum to 1.

        A model of returns that states a standard deviation has those of the normal distribution. They are what the
        model itself says: those in dataset `predictions` are calibrated.

        Raises:
            DatasetError: as `predict`; or the model states neither a probability nor a standard deviation.

        """
        found = self.predict(rows)
        up = found.prob_up
        if up is None:
            if found.std is None:
                raise DatasetError(
                    f"{self.origin or type(self).__name__} states no probabilities: it forecasts returns without a "
                    "standard deviation; set its task_type to classification, or take prob_up of dataset predictions"
                )
            from scipy.special import ndtr  # scipy is a third of a second that only those who ask pay

            up = np.asarray(ndtr(found.mean / found.std), dtype=np.float64)
        return np.stack([1.0 - up, up], axis=-1)

    @final
    def get_feature_importance(self) -> dict[str, float]:
        """Each feature and its importance by the kind's first measure, descending; empty where the kind has none."""
        if not (measures := self.importances()):
            return {}
        values = zip(self.features, next(iter(measures.values())), strict=True)
        return dict(sorted(values, key=lambda each: (-each[1], each[0])))

    @final
    def get_model_info(self) -> dict[str, Any]:
        """Plain values that say what the model is: origin, task, features, horizons, how the fit went."""
        return {
            "model": self.origin or type(self).__name__,
            "task_type": "regression" if self.directions is None else "classification",
            "features": list(self.features),
            "horizons": list(self.horizons),
            "missing": "learned" if self.fill is None else "filled",
        } | self.description()

    @abstractmethod
    def _predict(self, rows: Rows) -> Distribution:
        """Forecasts of at least one row; a row's bytes do not depend on the other rows.

        Of a model of directions the mean is the probability of a rise.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model into an empty folder: one file `model.<suffix>`, or several of any names."""

    @final
    def write(self, folder: Path) -> None:
        """`save`, and beside it what a model of directions is asked with; `Learner.read` reads both."""
        self.save(folder)
        if self.directions is not None:
            text = json.dumps(dict(zip(("fell", "rose"), self.directions.tolist(), strict=True)))
            (folder / _DIRECTIONS).write_text(text + "\n", encoding="utf-8")

    def description(self) -> dict[str, Any]:
        """Plain values for the manifest that say how the fit went, such as the number of trees."""
        return {}

    def importances(self) -> dict[str, list[float]]:
        """Importance of each feature in order, by the name of the measure; none where a kind has none."""
        return {}

    def contributions(self, rows: Rows) -> FloatArray | None:
        """SHAP values of rows: what each feature adds to a forecast, and last what the model says without any.

        Shape (n_horizons, n_rows, n_features + 1). Their sum over the last axis is the raw forecast: what was fitted
        (`Rows.targets`), of a model of directions its log odds. None where a kind states none.
        """
        return None


def _other_columns(given: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    """How the columns of rows differ from a model's."""
    parts = [
        f"{what} {', '.join(names)}"
        for what, names in (
            ("lack", [name for name in wanted if name not in set(given)]),
            ("have beside them", [name for name in given if name not in set(wanted)]),
        )
        if names
    ]
    said = " and ".join(parts) or "have the model's features in another order"
    return f"the rows have other columns than its {len(wanted)} features: they {said}"


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
        on_device: whether it is fitted on a device (GPU) where there is one: it then holds one for each process. Else
            it sees none.
        libraries: distributions whose versions decide what it computes.
        without_effect: parameters that do not change what is fitted, such as a number of threads.
        checkpoints: dataset that its trainings fill.
        tasks: what it can fit.
        updated: of these, the ones for which a model can be updated by rows that became known later (`update`).
        learns: whether its rows decide what is fitted; else it was made elsewhere, and the audit asks for no answer.
        parameters_type: model of its parameters, with their defaults.
        name: of the model, in `models` of the settings and in column `model`.
        parameters: checked.
        task: what is fitted, one of `tasks`.
        updates: whether its models are updated between trainings, so that they keep what an update needs.

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
                f"setting models.{name}.task_type is {task}; kind {self.kind} does {' and '.join(self.tasks)}"
            )
        if updates and task not in self.updated:
            raise SettingsError(
                f"setting models.{name}.update is true; kind {self.kind} offers no updates of a {task}: leave it out"
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
        if self.task == "classification":
            model.directions = _directions(rows, self.said)
        for observer in OBSERVERS:
            observer.fitted(self.name, rows, validation, model)
        return model

    @abstractmethod
    def _fit(self, rows: Rows, validation: Rows, seed: int) -> FittedModel:
        """What `fit` says, for one horizon, or for several where `all_horizons`."""

    @final
    def update(self, model: FittedModel, rows: Rows, fitted_rows: int) -> FittedModel:
        """The model, learning from rows that it has not been fitted to yet; the model itself stays as it is.

        What a direction means (`FittedModel.directions`) stays that of the training.

        Args:
            model: that a learner of these parameters fitted or updated, with `updates`.
            rows: at least one, of its features and horizons.
            fitted_rows: how many rows the model has learned from so far.

        Raises:
            DatasetError: the model lacks what an update needs, or the rows are others than it has features and horizons
                for.

        """
        if (model.features, model.horizons) != (rows.features, rows.horizons):
            raise DatasetError(f"{self.said}: rows of other features or horizons cannot update it")
        found = self._update(model, rows, fitted_rows)
        found.origin, found.directions = self.said, model.directions
        for observer in OBSERVERS:
            observer.fitted(self.name, rows, rows.where(np.zeros(len(rows), dtype=bool)), found)
        return found

    def _update(self, model: FittedModel, rows: Rows, fitted_rows: int) -> FittedModel:
        """What `update` says, of a kind that offers it (`updated`)."""
        raise NotImplementedError(f"kind {self.kind} offers no updates")

    @abstractmethod
    def load(self, folder: Path, horizons: tuple[int, ...]) -> FittedModel:
        """The model that `save` wrote into a folder, whatever this learner's parameters are now.

        That the files are those that were written has been verified. They may be gone afterwards.

        Args:
            folder: of its files.
            horizons: that it was fitted for.

        """

    @final
    def read(self, folder: Path, horizons: tuple[int, ...]) -> FittedModel:
        """The model that `FittedModel.write` wrote into a folder; arguments as of `load`."""
        model = self.load(folder, horizons)
        if (beside := folder / _DIRECTIONS).exists():
            told = json.loads(beside.read_text(encoding="utf-8"))
            model.directions = np.array([told["fell"], told["rose"]])
        model.origin = self.said
        return model

    @property
    def knows_until(self) -> date | None:
        """The last session of which it may know what no row tells it: it is judged after that one. None: of none."""
        return None

    @property
    def bar_sessions(self) -> int:
        """Sessions up to a row's own whose bars its forecast may follow from; 0: it reads no bars, but features."""
        return 0

    @property
    def pretraining_cadence(self) -> int:
        """Months between the pre-trainings on the whole market that it begins from; 0: it begins from none."""
        return 0

    def inputs(self, features: Sequence[str]) -> tuple[str, ...]:
        """Which of a profile's features it reads, in order: all of them, unless the kind says otherwise."""
        return tuple(features)

    def usable(self, rows: Rows) -> BoolArray:
        """Which rows have what the kind needs, shape (n_rows,): the others are not trained on."""
        return np.ones(len(rows), dtype=bool)

    def compared_names(self, features: Sequence[str]) -> tuple[str, ...]:
        """Names of what later rows are held against the training rows by (`learning.reference`): what it reads."""
        return self.inputs(features)

    def compared(self, frame: pl.DataFrame, names: Sequence[str], bars: Bars | None) -> FloatArray:
        """Values of rows under such names, shape (n_rows, n_names), NaN where missing; `bars` are those they lie in."""
        return feature_matrix(frame, names)

    def unknowing(self, since: date) -> Self:
        """The learner that a slice from a session on is judged with: itself, or without what knows that slice."""
        return self

    def recorded(self) -> dict[str, Any]:
        """Its parameters as a manifest has them: plain values that mean the same on another machine."""
        return dict(self.parameters.model_dump(mode="json"))

    @property
    def said(self) -> str:
        """The model and its kind in words, for errors."""
        return f"model {self.name} of kind {self.kind}"

    @final
    def deciding(self) -> dict[str, Any]:
        """Parameters that decide what is fitted, as plain values."""
        found: dict[str, Any] = self.parameters.model_dump(mode="json", exclude=set(self.without_effect))
        found |= {} if self.task == "regression" else {"task_type": self.task}
        return found | ({"update": True} if self.updates else {})


def _directions(rows: Rows, said: str) -> FloatArray:
    """Mean return of the rows whose target is 0 and of those whose target is 1, shape (2, n_horizons)."""
    if rows.outcomes is None or not np.isin(rows.targets, (0.0, 1.0)).all():
        raise DatasetError(f"{said}: directions are fitted to targets of 0 and 1, with the returns as outcomes")
    up = rows.targets == 1
    if up.all(axis=0).any() or not up.any(axis=0).all():
        raise DatasetError(f"{said}: all {len(rows)} rows have the same direction; train it on more sessions")
    return np.stack([(rows.outcomes * one).sum(axis=0) / one.sum(axis=0) for one in (~up, up)])
