"""What a training really hands to a model of any kind, recorded where it is fitted and asked.

What a checkpoint says of itself is no evidence of what it was trained on, so it is not asked here. No judgement either.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from quant_assets.learning.models.base import FittedModel, observed_by
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.market.panel import FloatArray


@dataclass(frozen=True)
class Given:
    """Rows as a model got them.

    Attributes:
        matrix: float64 of shape (n_rows, n_features).
        values: float64 of shape (n_rows,): the forward return behind the target, or the forecast of rows that were
            predicted.

    """

    matrix: FloatArray
    values: FloatArray


@dataclass(frozen=True)
class Fit:
    """One fit for one horizon, from its training rows to its forecasts; a fit for several horizons is several.

    Attributes:
        model: name of the model in the settings.
        fitted: training rows.
        stopped_by: rows by which the fit was stopped or tuned.
        predicted: rows that were forecast while the recording went on, in the order of the calls.

    """

    model: str
    fitted: Given
    stopped_by: list[Given] = field(default_factory=list)
    predicted: list[Given] = field(default_factory=list)


@contextmanager
def recorded() -> Iterator[list[Fit]]:
    """Record every model that is fitted in this process until the end of the block, of whatever kind."""
    recorder = _Recorder()
    with observed_by(recorder):
        yield recorder.fits


class _Recorder:
    def __init__(self) -> None:
        self.fits: list[Fit] = []
        # The models are kept, so that no number is given twice.
        self._of: dict[int, tuple[FittedModel, list[Fit]]] = {}

    def fitted(self, name: str, rows: Rows, validation: Rows, model: FittedModel) -> None:
        """The model's training and validation rows."""
        stopped = [[given] if len(given.values) else [] for given in _by_horizon(validation, _returns(validation))]
        made = [
            Fit(name, given, later) for given, later in zip(_by_horizon(rows, _returns(rows)), stopped, strict=True)
        ]
        self._of[id(model)] = model, made
        self.fits += made

    def predicted(self, model: FittedModel, rows: Rows, found: Distribution) -> None:
        """The rows and forecasts of a model whose fit was recorded."""
        if id(model) in self._of:
            for fit, given in zip(self._of[id(model)][1], _by_horizon(rows, found.mean), strict=True):
                fit.predicted.append(given)


def _returns(rows: Rows) -> FloatArray:
    """The forward returns that are fitted, or from which what is fitted follows."""
    return rows.targets if rows.outcomes is None else rows.outcomes


def _by_horizon(rows: Rows, values: FloatArray) -> list[Given]:
    """The rows with each column of values."""
    return [Given(rows.matrix.copy(), np.array(column)) for column in values.T]
